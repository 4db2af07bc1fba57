/** Model directories with float weights, quantised to packed ones. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  loadModel,
  type QuantizedLayer,
  quantizeModel,
  type QuantizeModelOptions,
  Safetensors,
} from "../mod.ts";
import { type MadeModel, makeModel, type Recipe, withDirectory, writeModel } from "./make_model.ts";
import { assertNear, assertSame, assertThrowsCode, wrong } from "./support.ts";

const ids = Int32Array.from({ length: 30 }, (_, at) => (at * 31 + 5) % 97);
const floats: Recipe = { weights: "floats", mode: "online" };

async function logitsOf(directory: string): Promise<Float32Array> {
  using model = await loadModel(directory, { tokenizer: false });
  return model.forward(ids).logits;
}

/** Writes a model with float weights, quantises it, and hands over both directories. */
async function quantized<T>(
  recipe: Recipe,
  use: (from: string, to: string, model: MadeModel, layers: readonly QuantizedLayer[]) => T,
  { shards = 1, ...options }: QuantizeModelOptions & { shards?: number } = {},
): Promise<Awaited<T>> {
  return await withDirectory(async (folder) => {
    const [from, to] = [join(folder, "float"), join(folder, "packed")];
    mkdirSync(from);
    const model = makeModel({ ...floats, ...recipe });
    writeModel(from, model, shards);
    const { layers } = await quantizeModel(from, to, options);
    return await use(from, to, model, layers);
  });
}

const VARIANTS: Record<string, Recipe> = {
  bitnet: { architecture: "BitNetForCausalLM" },
  "bitnet with tied tables in bf16": { tied: true, float: "BF16" },
  llama: { architecture: "LlamaForCausalLM", float: "F16", kvHeads: 4 },
  "llama with norms in its layers": { architecture: "LlamaForCausalLM", useRmsNorm: true },
};

for (const [name, recipe] of Object.entries(VARIANTS)) {
  // Loading float weights in online mode quantises them by the same rule.
  test(`${name}: the packed model computes as the float one does when it is loaded`, () =>
    quantized(recipe, async (from, to) => {
      assertSame(await logitsOf(to), await logitsOf(from));
    }, { shards: name === "llama" ? 3 : 1 }));
}

test("a config that says nothing of quantisation is that of a dense model", () =>
  quantized({ architecture: "LlamaForCausalLM" }, async (from, to, { config }) => {
    const expected = await logitsOf(to);
    const { quantization_config: _, ...dense } = config;
    writeFileSync(join(from, "config.json"), JSON.stringify({ ...dense, remark: "kept" }));
    await quantizeModel(from, `${to}-2`);
    assertSame(await logitsOf(`${to}-2`), expected);
    const written = JSON.parse(readFileSync(join(`${to}-2`, "config.json"), "utf8"));
    assert.equal(written.remark, "kept");
    assert.deepEqual(written.quantization_config, {
      quant_method: "bitnet",
      linear_class: "autobitlinear",
      quantization_mode: "offline",
    });
  }));

test("biases are those of the float model", () =>
  quantized(
    { architecture: "LlamaForCausalLM", attentionBias: true, mlpBias: true },
    async (from, to) => {
      const expected = await logitsOf(from);
      const actual = await logitsOf(to);
      // A bias is stored over the scale and multiplied by it: two roundings of 2^-24 each, which a few
      // layers and the rounding of activations to int8 carry into the logits.
      const size = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      assertNear(actual, expected, 0.02 * size);
    },
  ));

test("bitlinear divides by the stored scales", () =>
  quantized({}, async (from, to) => {
    const config = JSON.parse(readFileSync(join(to, "config.json"), "utf8"));
    assert.equal(config.quantization_config.linear_class, "bitlinear");
    const expected = await logitsOf(from);
    const size = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    // A quotient of a reciprocal may lose a last bit, which may turn the rounding of an activation.
    assertNear(await logitsOf(to), expected, 0.02 * size);
  }, { linearClass: "bitlinear" }));

test("the statistics of a layer are those of plain loops", () =>
  quantized({ float: "BF16" }, (_from, to, { values }, layers) => {
    assert.equal(layers.length, 14);
    using file = Safetensors.open(join(to, "model.safetensors"));
    for (const layer of layers) {
      const weights = values.get(`${layer.name}.weight`)!;
      assert.equal(layer.rows * layer.cols, weights.length);
      const mean = weights.reduce((sum, weight) => sum + Math.abs(weight), 0) / weights.length;
      // The library sums float32 in lanes: a relative error of at most 24 roundings of 2^-24.
      assertNear([layer.scale], [mean], 24 * 2 ** -24 * mean);
      let [positives, negatives, squares, errors] = [0, 0, 0, 0];
      for (const weight of weights) {
        const trit = Math.max(-1, Math.min(1, Math.round(weight / layer.scale)));
        positives += trit > 0 ? 1 : 0;
        negatives += trit < 0 ? 1 : 0;
        squares += weight ** 2;
        errors += (weight - layer.scale * trit) ** 2;
      }
      // A weight of half the scale may fall on either side.
      const one = 2 / weights.length;
      assertNear([layer.positives], [positives / weights.length], one);
      assertNear([layer.negatives], [negatives / weights.length], one);
      assertNear([layer.zeros + layer.positives + layer.negatives], [1], 1e-12);
      assertNear([layer.relativeError], [Math.sqrt(errors / squares)], 1e-3);
      assert.equal(layer.bytesBefore, 2 * weights.length);
      assert.equal(layer.bytesAfter, weights.length / 4 + 4);
      assert.equal(file.tensor(`${layer.name}.weight`).sizeBytes, weights.length / 4);
    }
  }));

test("what is no linear layer stays as it is, to the last bit, and other files come along", () =>
  quantized({ float: "BF16" }, async (from, to) => {
    writeFileSync(join(from, "tokenizer.json"), "{}");
    writeFileSync(join(from, "chat_template.jinja"), "hello");
    await quantizeModel(from, to, { overwrite: true });
    assert.deepEqual(readdirSync(to).sort(), [
      "chat_template.jinja",
      "config.json",
      "model.safetensors",
      "tokenizer.json",
    ]);
    using before = Safetensors.open(join(from, "model.safetensors"));
    using after = Safetensors.open(join(to, "model.safetensors"));
    for (const name of before.names.filter((name) => !name.includes("_proj"))) {
      assert.equal(after.tensor(name).dtype, "BF16");
      assertSame(after.read(name) as Uint16Array, before.read(name) as Uint16Array, name);
    }
  }));

test("skipped layers keep their weights, and the config names them", () =>
  quantized({}, async (from, to, _model, layers) => {
    const skipped = ["model.layers.1.mlp.down_proj", "model.layers.1.self_attn.q_proj"];
    assert.deepEqual(
      layers.map(({ name }) => name).filter((name) => skipped.includes(name)),
      [],
    );
    using before = Safetensors.open(join(from, "model.safetensors"));
    using after = Safetensors.open(join(to, "model.safetensors"));
    for (const name of skipped) {
      assert.equal(after.has(`${name}.weight_scale`), false);
      const [a, b] = [after, before].map((file) => file.read(`${name}.weight`) as Float32Array);
      assertSame(a!, b!);
    }
    const config = JSON.parse(readFileSync(join(to, "config.json"), "utf8"));
    const named: string[] = config.quantization_config.modules_to_not_convert;
    assert.deepEqual(named.toSorted(), ["lm_head", ...skipped]);
    await assert.rejects(loadModel(to), { code: "unsupported", message: /down_proj|q_proj/ });
  }, { skip: ["model.layers.1.mlp.down*", "*.1.self_attn.q_proj"] }));

test("a pattern that fits no layer is a mistake, and dots are dots", () =>
  quantized({}, async (from, to) => {
    for (const skip of ["model.layers.9.*", "model-layers.0.*", "lm_head", ""]) {
      await assert.rejects(quantizeModel(from, `${to}-2`, { skip: [skip] }), {
        code: "invalid_option",
      });
    }
    await assert.rejects(quantizeModel(from, `${to}-2`, { skip: wrong("*") }), {
      code: "invalid_type",
    });
  }));

test("what is there already stays unless it may be replaced", () =>
  quantized({}, async (from, to) => {
    const before = readFileSync(join(to, "model.safetensors"));
    await assert.rejects(quantizeModel(from, to), { code: "invalid_option", message: /overwrite/ });
    await assert.rejects(quantizeModel(from, from, { overwrite: true }), {
      code: "invalid_option",
    });
    writeFileSync(join(to, "model.safetensors"), "changed");
    writeFileSync(join(to, "extra"), "");
    await quantizeModel(from, to, { overwrite: true });
    assert.deepEqual(readFileSync(join(to, "model.safetensors")), before);
    assert.deepEqual(readdirSync(to).sort(), ["config.json", "model.safetensors"]);
    assert.deepEqual(readdirSync(join(to, "..")).sort(), ["float", "packed"]);
  }));

test("a model that is quantised already is refused", () =>
  quantized({}, async (_from, to) => {
    await assert.rejects(quantizeModel(to, `${to}-2`), {
      code: "invalid_format",
      message: /quantised already/,
    });
  }));

const BAD: Record<string, [Recipe, (from: string) => void, string]> = {
  "rows that do not divide by 4": [{ intermediate: 70 }, () => {}, "invalid_shape"],
  "an unknown architecture": [
    { config: { architectures: ["GPT2LMHeadModel"] } },
    () => {},
    "unsupported",
  ],
  "another way of quantising": [
    { config: { quantization_config: { quant_method: "gptq" } } },
    () => {},
    "unsupported",
  ],
  "weights that are not finite": [{}, (from) => {
    const path = join(from, "model.safetensors");
    const bytes = readFileSync(path);
    // The last tensor of the file is a norm; the one in the middle is a linear layer.
    bytes.fill(0xff, bytes.length >> 1, (bytes.length >> 1) + 64);
    writeFileSync(path, bytes);
  }, "invalid_value"],
};

for (const [name, [recipe, damage, code]] of Object.entries(BAD)) {
  test(`${name} is an error that leaves nothing behind`, () =>
    withDirectory(async (folder) => {
      const from = join(folder, "float");
      mkdirSync(from);
      writeModel(from, makeModel({ ...floats, ...recipe }));
      damage(from);
      await assert.rejects(quantizeModel(from, join(folder, "packed")), { code });
      assert.deepEqual(readdirSync(folder), ["float"]);
    }));
}

test("an aborted run leaves nothing behind, and the old directory where there is one", () =>
  quantized({}, async (from, to) => {
    const controller = new AbortController();
    const options: QuantizeModelOptions = {
      overwrite: true,
      signal: controller.signal,
      onProgress: (_layer, done) => void (done === 5 && controller.abort(new Error("enough"))),
    };
    cpSync(to, `${to}-2`, { recursive: true });
    await assert.rejects(quantizeModel(from, to, options), { message: "enough" });
    await assert.rejects(quantizeModel(from, `${to}-3`, options), { message: "enough" });
    assert.deepEqual(readdirSync(join(to, "..")).sort(), ["float", "packed", "packed-2"]);
    assertSame(await logitsOf(to), await logitsOf(`${to}-2`));
    assertThrowsCode(() => Safetensors.open(`${to}-3`), "io");
  }));
