/** Models that train, written as Hugging Face directories and loaded again. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  type ExportableModel,
  exportModel,
  type ExportModelOptions,
  loadModel,
  type ModelConfig,
  type Parameter,
  Safetensors,
  TrainableTransformer,
  type TransformerConfig,
} from "../mod.ts";
import { withDirectory } from "./make_model.ts";
import { assertNear, assertSame, assertThrowsCode, randomFloats, wrong } from "./support.ts";

const jargon = fileURLToPath(new URL("../examples/models/bitnet-jargon", import.meta.url));
const llama = fileURLToPath(new URL("./fixtures/llama-bitlinear", import.meta.url));

const sizes = { vocabSize: 97, hiddenSize: 48, intermediateSize: 72, layers: 2, heads: 4 };
const CONFIGS: Record<string, TransformerConfig> = {
  bitnet: { ...sizes, kvHeads: 2, bosTokenId: 0, eosTokenIds: [1] },
  llama: {
    ...sizes,
    architecture: "LlamaForCausalLM",
    kvHeads: 1,
    headDim: 16,
    tieWordEmbeddings: false,
    attentionBias: true,
    mlpBias: true,
    maxPositions: 64,
    eosTokenIds: [1, 7],
    rope: {
      type: "llama3",
      theta: 10_000,
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositions: 32,
    },
  },
};

const ids = Int32Array.from(randomFloats(40, 5), (value) => Math.floor(48.5 * (value + 1)));

/** A model whose norms and biases are not what they begin with. */
function makeModel(config: TransformerConfig): TrainableTransformer {
  const model = new TrainableTransformer(config, { seed: 3, initializerRange: 0.1 });
  model.parameters.forEach(({ data, shape }, index) => {
    if (shape.length === 1) randomFloats(data.length, index).forEach((x, i) => data[i]! += 0.2 * x);
  });
  return model;
}

async function logitsOf(directory: string): Promise<Float32Array> {
  using model = await loadModel(directory);
  return model.forward(Array.from(ids)).logits;
}

for (const [name, config] of Object.entries(CONFIGS)) {
  test(`a ${name} model in every form computes what it computed while it trained`, () =>
    withDirectory(async (directory) => {
      const model = makeModel(config);
      const length = ids.length;
      const targets = Int32Array.from(ids, (_, index) => ids[index + 1] ?? -100);
      const loss = model.loss(ids, targets, [1, length]);
      const logits = async (folder: string, options?: ExportModelOptions) => {
        const path = join(directory, folder);
        exportModel(model, path, options);
        return await logitsOf(path);
      };
      const packed = await logits("packed");
      const unpacked = await logits("unpacked", { form: "unpacked" });
      if (model.config.attentionBias) assertNear(unpacked, packed, 1e-4, "unpacked");
      else assertSame(unpacked, packed, "unpacked");
      // 1 / (1 / mean) and (bias / mean) mean may lose a last bit in each layer; logits are about 1.
      assertNear(await logits("divided", { linearClass: "bitlinear" }), packed, 1e-4, "divided");
      {
        using loaded = await loadModel(join(directory, "packed"));
        assert.equal(loaded.parameterCount, model.parameterCount);
        // The sums of the cross-entropy are rounded in another order.
        assert.ok(Math.abs(loaded.nll(Array.from(ids)) - loss) < 1e-5);
        const expected: ModelConfig = {
          ...model.config,
          quantization: { ...loaded.config.quantization, linearClass: "autobitlinear" },
        };
        assert.deepEqual({ ...loaded.config }, expected);
      }
      for (const dtype of ["bf16", "f16"] as const) {
        const rounded = await logits(dtype, { dtype });
        // Weights with 8 or 11 significant bits; activations are rounded to 7 bits anyway.
        const difference = Math.hypot(...rounded.map((logit, index) => logit - packed[index]!));
        assert.ok(difference < 0.05 * Math.hypot(...packed), `${dtype}: ${difference}`);
        using file = Safetensors.open(join(directory, dtype, "model.safetensors"));
        assert.equal(file.tensor("model.norm.weight").dtype, dtype.toUpperCase());
        assert.equal(file.metadata.get("format"), "pt");
      }
    }));
}

/** A model with float weights that quantise to those of a packed directory. */
async function unpackModel(directory: string): Promise<ExportableModel> {
  using loaded = await loadModel(directory);
  using file = Safetensors.open(join(directory, "model.safetensors"));
  const divides = loaded.config.quantization.linearClass === "bitlinear";
  const names = file.names.filter((name) => !name.endsWith("_scale"));
  const parameters = names.map((name): Parameter => {
    const { dtype, shape } = file.tensor(name);
    const quantized = dtype === "U8";
    const data = quantized
      ? latentWeights(file.read(name) as Uint8Array, file.readFloat32(`${name}_scale`)[0]!, divides)
      : file.readFloat32(name);
    const own = quantized ? [4 * shape[0]!, shape[1]!] : [...shape];
    return { name, shape: own, data, gradient: data, decay: false, quantized };
  });
  return { config: loaded.config, parameters };
}

/** Weights with these trits, and with the scale as their mean magnitude. */
function latentWeights(packed: Uint8Array, scale: number, divides: boolean): Float32Array {
  const trits = [0, 2, 4, 6].flatMap((shift) =>
    Array.from(packed, (byte) => ((byte >> shift) & 3) - 1)
  );
  const kept = trits.reduce((sum, trit) => sum + Math.abs(trit), 0);
  const size = (divides ? 1 / scale : scale) * trits.length / kept;
  return Float32Array.from(trits, (trit) => trit * size);
}

test("the reference models are written as Hugging Face wrote them, byte for byte", () =>
  withDirectory(async (directory) => {
    const model = await unpackModel(jargon);
    exportModel(model, directory, { dtype: "bf16", tokenizer: jargon });
    const bytes = readFileSync(join(directory, "model.safetensors"));
    assert.ok(bytes.equals(readFileSync(join(jargon, "model.safetensors"))));
    assert.deepEqual(readdirSync(directory).sort(), [
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    using loaded = await loadModel(directory);
    assert.equal(loaded.tokenizer.encode("foo").length, 1);
    const written = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
    const reference = JSON.parse(readFileSync(join(jargon, "config.json"), "utf8"));
    for (const [key, value] of Object.entries(written)) {
      if (key !== "rope_theta") assert.deepEqual(value, reference[key], key);
    }
  }));

test("weights that are divided by their scale are written as Hugging Face writes them", () =>
  withDirectory(async (directory) => {
    exportModel(await unpackModel(llama), directory, { linearClass: "bitlinear" });
    using written = Safetensors.open(join(directory, "model.safetensors"));
    using reference = Safetensors.open(join(llama, "model.safetensors"));
    assert.deepEqual(written.names.sort(), reference.names.sort());
    for (const name of written.names) {
      if (name.endsWith("_scale")) {
        const scale = reference.readFloat32(name)[0]!;
        // Two roundings of 2^-24 each.
        assertNear(written.readFloat32(name), [scale], 2 ** -22 * scale, name);
      } else {
        assertSame(written.read(name) as Uint8Array, reference.read(name) as Uint8Array, name);
      }
    }
  }));

test("what cannot be exported is refused", () =>
  withDirectory((directory) => {
    const model = makeModel(CONFIGS.bitnet!);
    const refused = (
      change: Record<string, unknown>,
      options: unknown,
      code: string,
      message: RegExp,
    ) => {
      const { config, parameters } = model;
      const given = wrong({ config, parameters, ...change });
      assertThrowsCode(
        () => exportModel(given, join(directory, "new"), wrong(options)),
        code,
        message,
      );
    };
    refused({}, { form: "zip" }, "invalid_option", /form/);
    refused({}, { linearClass: "linear" }, "invalid_option", /linearClass/);
    refused({}, { dtype: "f64" }, "invalid_option", /dtype/);
    const divided = { form: "unpacked", linearClass: "bitlinear" };
    refused({}, divided, "invalid_option", /autobitlinear/);
    refused({}, { tokenizer: directory }, "io", /tokenizer\.json/);
    refused({}, { tokenizer: 7 }, "invalid_type", /tokenizer/);
    refused({ config: undefined }, {}, "invalid_type", /TrainableTransformer/);
    refused({ parameters: undefined }, {}, "invalid_type", /TrainableTransformer/);
    const { parameters } = model;
    refused({ parameters: parameters.slice(1) }, {}, "invalid_format", /embed_tokens/);
    const twice = [...parameters, { ...parameters[0]!, name: "more" }];
    refused({ parameters: twice }, {}, "invalid_format", /no place for the parameter more/);
    const turned = parameters.map((parameter) => ({
      ...parameter,
      shape: parameter.shape.toReversed(),
    }));
    refused({ parameters: turned }, {}, "invalid_format", /\[97, 48\], got \[48, 97\]/);
    const withNaN = (place: number) => {
      const data = new Float32Array(parameters[place]!.data);
      data[7] = NaN;
      return parameters.map((each, index) => index === place ? { ...each, data } : each);
    };
    refused({ parameters: withNaN(0) }, {}, "invalid_value", /embed_tokens.*\[7\].*NaN/);
    const linear = parameters.findIndex(({ quantized }) => quantized);
    refused({ parameters: withNaN(linear) }, {}, "invalid_value", /_proj.*\[7\].*NaN/);
    refused({ parameters: withNaN(linear) }, { form: "unpacked" }, "invalid_value", /_proj/);
    const odd = new TrainableTransformer({ ...sizes, intermediateSize: 70 });
    assertThrowsCode(
      () => exportModel(odd, join(directory, "new")),
      "invalid_shape",
      /gate_proj.*multiple of 4 rows, got 70/,
    );
    assert.deepEqual(readdirSync(directory), []);
    exportModel(odd, join(directory, "odd"), { form: "unpacked" });
    writeFileSync(join(directory, "file"), "");
    assertThrowsCode(() => exportModel(model, join(directory, "file")), "io");
    mkdirSync(join(directory, "there", "config.json"), { recursive: true });
    assertThrowsCode(() => exportModel(model, join(directory, "there")), "io", /config\.json/);
  }));
