import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { info, KVCache, loadModel, type TernaryModel, TritterError } from "../mod.ts";
import { type MadeModel, makeModel, type Recipe, withDirectory, writeModel } from "./make_model.ts";
import { assertThrowsCode, seeded, wrong } from "./support.ts";
import { referenceLogits } from "./reference_model.ts";

async function rejectsCode(run: Promise<unknown>, code: string, message = /./): Promise<void> {
  const error = await run.then(() => undefined, (reason: unknown) => reason);
  assertThrowsCode(
    () => {
      if (error !== undefined) throw error;
    },
    code,
    message,
  );
}

async function withModel<T>(
  made: MadeModel,
  use: (model: TernaryModel) => T | Promise<T>,
  shards = 1,
): Promise<T> {
  return await withDirectory(async (directory) => {
    writeModel(directory, made, shards);
    using model = await loadModel(directory);
    return await use(model);
  });
}

/**
 * Compares logits [tokens, vocab] with those of plain loops in float64.
 *
 * An activation near a rounding tie takes another int8 value in float32 than in float64: an error of
 * 1/127 in one of a few dozen terms, which then moves others over their ties. Where that does not
 * happen the two agree to float32's precision, and it happens to few tokens; wrong semantics are
 * wrong for all of them.
 */
function assertLogits(actual: Float32Array, expected: Float64Array, vocab: number): void {
  const distances = [];
  for (let start = 0; start < expected.length; start += vocab) {
    let [difference, norm] = [0, 0];
    for (let index = start; index < start + vocab; index++) {
      difference += (actual[index]! - expected[index]!) ** 2;
      norm += expected[index]! ** 2;
    }
    distances.push(Math.sqrt(difference / norm));
  }
  assert.ok(distances.every((distance) => distance < 3e-2), `${distances}`);
  const exact = distances.filter((distance) => distance < 1e-5).length;
  assert.ok(exact >= distances.length / 2, `${distances}`);
}

const IDS = [0, 5, 96, 33, 33, 2, 71, 8, 1, 64, 90, 17];
const LLAMA = { architecture: "LlamaForCausalLM" } as const;

const variants: [string, Recipe, number?][] = [
  ["BitNet, packed", {}],
  ["BitNet, tied", { tied: true }],
  ["BitNet, silu", { activation: "silu" }],
  ["BitNet, bf16", { float: "BF16" }],
  ["BitNet, f16", { float: "F16" }],
  ["BitNet, tied f16", { float: "F16", tied: true }],
  ["BitNet, three files", { float: "BF16" }, 3],
  ["BitNet, bias", { attentionBias: true }],
  ["BitNet, own norms", { useRmsNorm: true }],
  ["BitNet, divided by its scale", { linearClass: "bitlinear" }],
  ["BitNet, unpacked trits", { weights: "trits" }],
  ["BitNet, unpacked trits in bf16, divided", {
    weights: "trits",
    float: "BF16",
    linearClass: "bitlinear",
  }],
  ["BitNet, int8 trits", { weights: "int8" }],
  ["BitNet, online", { weights: "floats", mode: "online" }],
  ["BitNet, online bf16 with bias", {
    weights: "floats",
    mode: "online",
    float: "BF16",
    attentionBias: true,
  }],
  ["BitNet, online trits", { weights: "trits", mode: "online" }],
  ["BitNet, floats without a scale", { weights: "floats", float: "F16" }],
  ["BitNet, one head for all keys", { kvHeads: 1 }],
  ["BitNet, heads for each query", { kvHeads: 4 }],
  ["BitNet, one layer, one head", { layers: 1, heads: 1, kvHeads: 1 }],
  ["Llama, packed", LLAMA],
  ["Llama, packed, divided", { ...LLAMA, linearClass: "bitlinear", kvHeads: 1 }],
  ["Llama, relu2", { ...LLAMA, activation: "relu2" }],
  ["Llama, every bias", { ...LLAMA, attentionBias: true, mlpBias: true }],
  ["Llama, every bias, divided", {
    ...LLAMA,
    attentionBias: true,
    mlpBias: true,
    linearClass: "bitlinear",
    useRmsNorm: true,
  }],
  ["Llama, wide heads", { ...LLAMA, headDim: 20 }],
  ["Llama, narrow heads", { ...LLAMA, headDim: 6, kvHeads: 2 }],
  ["Llama, heads of two", { ...LLAMA, headDim: 2 }],
  ["Llama, odd inner size", { ...LLAMA, weights: "trits", intermediate: 61 }],
  ["Llama, sizes that fit no vector", {
    ...LLAMA,
    weights: "floats",
    mode: "online",
    hidden: 30,
    heads: 3,
    kvHeads: 1,
    intermediate: 67,
    vocab: 101,
  }],
  ["Llama, larger", { ...LLAMA, hidden: 256, heads: 4, kvHeads: 2, intermediate: 688, vocab: 300 }],
  ["Llama, linear rope", {
    ...LLAMA,
    rope: { rope_type: "linear", rope_theta: 5000, factor: 2.5 },
  }],
  ["Llama, llama3 rope", {
    ...LLAMA,
    headDim: 32,
    rope: {
      rope_type: "llama3",
      rope_theta: 10_000,
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 64,
    },
  }],
];

for (const [name, recipe, shards] of variants) {
  test(`${name}: logits are those of plain loops`, async () => {
    const made = makeModel(recipe);
    const expected = referenceLogits(made, IDS);
    await withModel(made, (model) => {
      const { vocabSize } = model.config;
      const { logits } = model.forward(IDS);
      assertLogits(logits, expected, vocabSize);
      using cache = model.createCache();
      const single = IDS.flatMap((id) => [...model.forward([id], { cache }).logits]);
      assert.deepEqual(Float32Array.from(single), logits);
    }, shards);
  });
}

test("the older place of rope settings means the same", async () => {
  const rope = { rope_type: "linear", rope_theta: 5000, factor: 2.5 };
  const older = {
    rope_parameters: undefined,
    rope_theta: 5000,
    rope_scaling: { type: "linear", factor: 2.5 },
  };
  const logits = await withModel(makeModel({ ...LLAMA, rope }), (m) => m.forward(IDS).logits);
  const made = makeModel({ ...LLAMA, config: older });
  assert.deepEqual(await withModel(made, (m) => m.forward(IDS).logits), logits);
});

test("a tied model may store either table, or both", async () => {
  const tied = makeModel({ tied: true });
  const logits = await withModel(tied, (model) => model.forward(IDS).logits);
  const [embed, head] = ["model.embed_tokens.weight", "lm_head.weight"];
  tied.tensors.set(head, tied.tensors.get(embed)!);
  assert.deepEqual(await withModel(tied, (model) => model.forward(IDS).logits), logits);
  tied.tensors.delete(embed);
  assert.deepEqual(await withModel(tied, (model) => model.forward(IDS).logits), logits);
});

test("tensors that a model does not use are left alone", async () => {
  const made = makeModel();
  const extra = { dtype: "I64", shape: [3], bytes: new Uint8Array(24) };
  made.tensors.set("model.layers.0.self_attn.rotary_emb.inv_freq", extra);
  await withModel(made, (model) => assert.equal(model.forward([3]).logits.length, 97));
});

test("a model describes itself", async () => {
  const made = makeModel({ float: "BF16" });
  await withModel(made, (model) => {
    assert.equal(model.config.architecture, "BitNetForCausalLM");
    assert.deepEqual(model.config.eosTokenIds, [1]);
    assert.equal(model.hasTokenizer, false);
    const stored = [...made.tensors].filter(([name]) => !name.endsWith("_scale"));
    const count = stored.reduce(
      (sum, [, { shape, dtype }]) => sum + shape.reduce((a, b) => a * b, dtype === "U8" ? 4 : 1),
      0,
    );
    assert.equal(model.parameterCount, count);
    const trits = stored.reduce(
      (sum, [, { dtype, bytes }]) => sum + (dtype === "U8" ? bytes.length : 0),
      0,
    );
    assert.ok(model.ternaryBytes >= trits && model.ternaryBytes < 8 * trits + 65_536);
    assert.ok(model.memoryBytes > model.ternaryBytes);
  });
});

test("loading frees everything, also when it fails", async () => {
  // Other tests' garbage may be freed meanwhile, so the number may also fall.
  const before = info().handles;
  const made = makeModel();
  await withModel(made, (model) => {
    model[Symbol.dispose]();
    model[Symbol.dispose]();
    assert.ok(info().handles <= before);
    assertThrowsCode(() => model.forward([1]), "disposed");
    assertThrowsCode(() => model.generate([1]), "disposed");
    assertThrowsCode(() => model.nll([1, 2]), "disposed");
    assertThrowsCode(() => model.createCache(), "disposed");
    assertThrowsCode(() => model.memoryBytes, "disposed");
  });
  made.tensors.delete("model.norm.weight");
  await rejectsCode(withModel(made, () => {}), "invalid_format", /model\.norm\.weight/);
  assert.ok(info().handles <= before);
});

test("progress is reported and its errors come through", () =>
  withDirectory(async (directory) => {
    writeModel(directory, makeModel());
    const steps: number[] = [];
    const onProgress = (loaded: number, total: number) => steps.push(loaded / total);
    (await loadModel(pathToFileURL(directory), { onProgress }))[Symbol.dispose]();
    assert.ok(steps.length > 10 && steps.every((step, i) => i === 0 || step > steps[i - 1]!));
    assert.equal(steps.at(-1), 1);
    // Other tests' garbage may be freed meanwhile, so the number may also fall.
    const before = info().handles;
    const stop = () => {
      throw new Error("stop");
    };
    await assert.rejects(loadModel(directory, { onProgress: stop }), /stop/);
    assert.ok(info().handles <= before);
  }));

test("what is wrong with a model is said by name", async () => {
  const weight = "model.layers.1.mlp.up_proj.weight";
  const cases: [string, (made: MadeModel) => void, RegExp][] = [
    ["missing scale", ({ tensors }) => tensors.delete(`${weight}_scale`), /up_proj\.weight_scale/],
    ["missing weight", ({ tensors }) => tensors.delete(weight), /up_proj\.weight/],
    ["shape", ({ tensors }) => tensors.get(weight)!.shape.reverse(), /up_proj\.weight .*shape/],
    ["norm", ({ tensors }) => {
      tensors.get("model.norm.weight")!.shape = [1, 48];
    }, /norm\.weight .*shape \[48\]/],
    ["dtype", ({ tensors }) => {
      tensors.set("model.norm.weight", { dtype: "F64", shape: [48], bytes: new Uint8Array(384) });
    }, /norm\.weight .*dtype/],
    ["code 11", ({ tensors }) => tensors.get(weight)!.bytes.fill(0xff, 5, 6), /up_proj\.weight/],
    ["zero scale", ({ tensors }) => tensors.get(`${weight}_scale`)!.bytes.fill(0), /weight_scale/],
    ["NaN in a norm", ({ tensors }) => tensors.get("model.norm.weight")!.bytes.fill(0xff), /norm/],
    ["no layer", ({ config }) => config.num_hidden_layers = 3, /layers\.2/],
  ];
  for (const [name, damage, message] of cases) {
    const made = makeModel({ linearClass: "bitlinear" });
    damage(made);
    await rejectsCode(withModel(made, () => {}), "invalid_format", message).catch((error) => {
      throw new Error(name, { cause: error });
    });
  }
});

test("NaN and infinite weights are refused", async () => {
  for (const value of [NaN, Infinity]) {
    const made = makeModel({ weights: "floats", mode: "online" });
    const { bytes } = made.tensors.get("model.layers.0.mlp.gate_proj.weight")!;
    new Float32Array(bytes.buffer)[100] = value;
    await rejectsCode(withModel(made, () => {}), "invalid_format", /gate_proj\.weight.*100/);
  }
  for (const [float, bits] of [["F32", 0x7f800000], ["F16", 0xfe00], ["BF16", 0xff80]] as const) {
    for (const name of ["model.embed_tokens.weight", "lm_head.weight"]) {
      const made = makeModel({ float });
      const { bytes } = made.tensors.get(name)!;
      const words = float === "F32" ? new Uint32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
      words[1234] = bits;
      const message = new RegExp(`Tensor ${name}: .*1234`);
      await rejectsCode(withModel(made, () => {}), "invalid_format", message);
    }
  }
});

test("directories that hold no model are refused", () =>
  withDirectory(async (directory) => {
    await rejectsCode(loadModel(join(directory, "none")), "io", /config\.json/);
    await rejectsCode(loadModel(""), "invalid_value");
    await rejectsCode(loadModel(wrong(3)), "invalid_type");
    writeModel(directory, makeModel());
    await rejectsCode(loadModel(directory, { device: "cuda" }), "device_unavailable");
    await rejectsCode(loadModel(directory, { device: wrong("tpu") }), "invalid_option");
    await rejectsCode(loadModel(directory, { threads: 0 }), "invalid_value");
    await rejectsCode(loadModel(directory, { tokenizer: wrong("yes") }), "invalid_type");
    await rejectsCode(loadModel(directory, { layout: wrong("triples") }), "invalid_option");
    await rejectsCode(loadModel(directory, { head: wrong("int4") }), "invalid_option");
    await rejectsCode(loadModel(directory, { onProgress: wrong(1) }), "invalid_type");
    await rejectsCode(loadModel(directory, wrong(null)), "invalid_type");
    writeFileSync(join(directory, "tokenizer.json"), "{}");
    await rejectsCode(loadModel(directory), "invalid_format", /tokenizer\.json/);
    (await loadModel(directory, { tokenizer: false }))[Symbol.dispose]();
    rmSync(join(directory, "model.safetensors"));
    await rejectsCode(loadModel(directory, { tokenizer: false }), "io", /model\.safetensors/);
  }));

test("an index cannot lead out of its directory", () =>
  withDirectory(async (directory) => {
    writeModel(directory, makeModel(), 2);
    const path = join(directory, "model.safetensors.index.json");
    const { weight_map: map } = JSON.parse(readFileSync(path, "utf8"));
    const shards = ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..\\x.safetensors"];
    for (
      const shard of [...shards, "C:x.safetensors", "", ".safetensors", 7, null, "config.json"]
    ) {
      const weights = { ...map, "model.norm.weight": shard };
      writeFileSync(path, JSON.stringify({ weight_map: weights }));
      await rejectsCode(loadModel(directory), "invalid_format", /index\.json/);
    }
    for (const index of ["[]", "{}", '{"weight_map":[]}', '{"weight_map":1}', "{", "\xff"]) {
      writeFileSync(path, index, "latin1");
      await rejectsCode(loadModel(directory), "invalid_format", /index\.json/);
    }
    const other = Object.values(map).find((shard) => shard !== map["model.norm.weight"]);
    writeFileSync(path, JSON.stringify({ weight_map: { ...map, "model.norm.weight": other } }));
    await rejectsCode(loadModel(directory), "invalid_format", /model\.norm\.weight/);
    const gone = { ...map, "model.norm.weight": "gone.safetensors" };
    writeFileSync(path, JSON.stringify({ weight_map: gone }));
    await rejectsCode(loadModel(directory), "io", /gone/);
  }));

const badConfigs: [string, Record<string, unknown>, string][] = [
  ["architectures", { architectures: ["GPT2LMHeadModel"] }, "unsupported"],
  ["architectures", { architectures: "BitNetForCausalLM" }, "invalid_format"],
  ["quantization_config", { quantization_config: undefined }, "unsupported"],
  ["quantization_config", { quantization_config: [] }, "invalid_format"],
  ["quant_method", { quantization_config: { quant_method: "gptq" } }, "unsupported"],
  ...[
    ["linear_class", "linear", "unsupported"],
    ["quantization_mode", "later", "unsupported"],
    ["use_rms_norm", "yes", "invalid_format"],
    ["rms_norm_eps", -1, "invalid_format"],
    ["modules_to_not_convert", ["lm_head", "q_proj"], "unsupported"],
    ["modules_to_not_convert", [], "unsupported"],
    ["modules_to_not_convert", "lm_head", "invalid_format"],
  ].map(([field, value, code]): [string, Record<string, unknown>, string] => [
    field as string,
    { quantization_config: { quant_method: "bitnet", [field as string]: value } },
    code as string,
  ]),
  ...["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"]
    .flatMap((field) =>
      [undefined, 0, -1, 1.5, 1e9, 2 ** 60, "48", [], true].map(
        (value): [string, Record<string, unknown>, string] => [
          field,
          { [field]: value },
          "invalid_format",
        ],
      )
    ),
  ["num_key_value_heads", { num_key_value_heads: 3 }, "invalid_format"],
  ["num_key_value_heads", { num_key_value_heads: 8 }, "invalid_format"],
  ["head_dim", { head_dim: 7 }, "invalid_format"],
  ["head_dim", { head_dim: 14 }, "invalid_format"],
  ["hidden_act", { hidden_act: "gelu" }, "unsupported"],
  ["rms_norm_eps", { rms_norm_eps: "small" }, "invalid_format"],
  ["rms_norm_eps", { rms_norm_eps: 1e300 }, "invalid_format"],
  ["tie_word_embeddings", { tie_word_embeddings: 1 }, "invalid_format"],
  ["max_position_embeddings", { max_position_embeddings: -5 }, "invalid_format"],
  ["eos_token_id", { eos_token_id: "</s>" }, "invalid_format"],
  ["eos_token_id", { eos_token_id: [1, -2] }, "invalid_format"],
  ["rope_parameters", { rope_parameters: [] }, "invalid_format"],
  ["rope_type", { rope_parameters: { rope_type: "yarn" } }, "unsupported"],
  ["rope_theta", { rope_parameters: { rope_theta: 0 } }, "invalid_format"],
  ["partial_rotary_factor", { partial_rotary_factor: 0.5 }, "unsupported"],
  ["factor", { rope_parameters: { rope_type: "linear" } }, "invalid_format"],
  ["factor", { rope_scaling: { type: "linear", factor: 0 } }, "invalid_format"],
  ["low_freq_factor", { rope_scaling: { type: "llama3", factor: 8 } }, "invalid_format"],
];

test("bad values in config.json are named", () =>
  withDirectory(async (directory) => {
    const made = makeModel();
    writeModel(directory, made);
    for (const [field, change, code] of badConfigs) {
      const config = { ...made.config, ...change };
      writeFileSync(join(directory, "config.json"), JSON.stringify(config));
      await rejectsCode(loadModel(directory), code, new RegExp(field));
    }
    for (const text of ["", "[]", "null", "{", '"x"', "\xff\xfe{}"]) {
      writeFileSync(join(directory, "config.json"), text, "latin1");
      await rejectsCode(loadModel(directory), "invalid_format", /config\.json/);
    }
  }));

test("missing values in config.json get the defaults of Hugging Face", () =>
  withDirectory(async (directory) => {
    const made = makeModel({ ...LLAMA, kvHeads: 4, linearClass: "bitlinear" });
    const config = { ...made.config, quantization_config: { quant_method: "bitnet" } };
    for (
      const field of [
        "num_key_value_heads",
        "head_dim",
        "hidden_act",
        "rms_norm_eps",
        "rope_parameters",
        "attention_bias",
        "eos_token_id",
      ]
    ) {
      delete (config as Record<string, unknown>)[field];
    }
    writeModel(directory, { ...made, config });
    writeFileSync(join(directory, "generation_config.json"), '{"eos_token_id":[3,5000]}');
    using model = await loadModel(directory);
    const { kvHeads, headDim, activation, rmsNormEps, rope, eosTokenIds, quantization } =
      model.config;
    assert.deepEqual([kvHeads, headDim, activation, rmsNormEps], [4, 12, "silu", 1e-6]);
    assert.deepEqual([rope.type, rope.theta, eosTokenIds], ["default", 10_000, [3]]);
    assert.deepEqual(quantization.linearClass, "bitlinear");
  }));

test("hundreds of damaged models load or are refused, never worse", () =>
  withDirectory(async (directory) => {
    const made = makeModel({ float: "BF16", layers: 1 });
    writeModel(directory, made);
    // Other tests' garbage may be freed meanwhile, so the number may also fall.
    const before = info().handles;
    const draw = seeded(3);
    const names = ["config.json", "model.safetensors"];
    const originals = names.map((name) => readFileSync(join(directory, name)));
    for (let round = 0; round < 300; round++) {
      const which = round % 2;
      const original = originals[which]!;
      const bytes = Uint8Array.from(original);
      const area = which === 1 && round % 4 === 1 ? 4000 : bytes.length;
      for (let flips = Math.floor(draw() * 3); flips >= 0; flips--) {
        bytes[Math.floor(draw() * area)]! ^= 1 << Math.floor(draw() * 8);
      }
      const size = draw() < 0.1 ? Math.floor(draw() * bytes.length) : bytes.length;
      writeFileSync(join(directory, names[which]!), bytes.subarray(0, size));
      try {
        using model = await loadModel(directory, { tokenizer: false });
        model.forward([1, 2, 3]);
      } catch (error) {
        assert.ok(error instanceof TritterError, String(error));
      }
      writeFileSync(join(directory, names[which]!), original);
    }
    assert.ok(info().handles <= before);
  }));

test("arguments of the model are checked", async () => {
  await withModel(makeModel(), (model) => {
    for (
      const call of [
        (ids: unknown) => model.forward(wrong(ids)),
        (ids: unknown) => model.nll(wrong(ids)),
      ]
    ) {
      assertThrowsCode(() => call("1 2"), "invalid_type");
      assertThrowsCode(() => call(null), "invalid_type");
      assertThrowsCode(() => call([1, "2"]), "invalid_type", /ids\[1\]/);
      assertThrowsCode(() => call([1n, 2n]), "invalid_type");
      assertThrowsCode(() => call([]), "invalid_length");
      for (const id of [-1, 97, 1.5, NaN, Infinity, 2 ** 32]) {
        assertThrowsCode(() => call([3, id]), "invalid_value", /ids\[1\]/);
      }
    }
    assertThrowsCode(() => model.nll([3]), "invalid_length");
    assertThrowsCode(() => model.forward([1], wrong([])), "invalid_type");
    assertThrowsCode(() => model.forward([1], { logits: wrong("none") }), "invalid_option");
    assertThrowsCode(() => model.forward([1], { cache: wrong({}) }), "invalid_type");
    using other = new KVCache({ layers: 1, kvHeads: 2, headDim: 12, maxTokens: 8 });
    assertThrowsCode(() => model.forward([1], { cache: other }), "invalid_shape");
    const gone = model.createCache();
    gone[Symbol.dispose]();
    assertThrowsCode(() => model.forward([1], { cache: gone }), "disposed");
    const all = model.forward(Uint32Array.from(IDS)).logits;
    const last = model.forward(Int32Array.from(IDS), { logits: "last" }).logits;
    assert.deepEqual(last, all.slice(-97));
  });
});

test("a full cache refuses tokens and stays as it was, a sliding one forgets", async () => {
  await withModel(makeModel({ layers: 1 }), (model) => {
    using cache = model.createCache({ maxTokens: 4 });
    model.forward([1, 2, 3], { cache });
    assertThrowsCode(() => model.forward([4, 5], { cache }), "cache_full");
    assert.equal(cache.length, 3);
    const next = model.forward([4], { cache }).logits;
    assert.deepEqual(next, model.forward([1, 2, 3, 4], { logits: "last" }).logits);
    cache.truncate(2);
    assert.deepEqual(
      model.forward([3], { cache }).logits,
      model.forward([1, 2, 3]).logits.slice(-97),
    );
    using sliding = model.createCache({ maxTokens: 4, policy: "slide" });
    for (const id of IDS) model.forward([id], { cache: sliding });
    assert.equal(sliding.length, 4);
    assert.equal(sliding.position, IDS.length);
  });
});
