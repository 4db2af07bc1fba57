// Models on a CUDA device: against what Hugging Face computed, and against the CPU.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { info, KVCache, loadModel, type TernaryModel } from "../mod.ts";
import { cudaTest } from "./cuda_support.ts";
import { makeModel, type Recipe, withDirectory, writeModel } from "./make_model.ts";
import { assertThrowsCode } from "./support.ts";

interface Reference {
  prompts: { text: string; ids: number[]; last_logits: number[]; greedy_ids: number[] }[];
  val_ids: number[][];
  val_nll_mean: number;
}

const device = "cuda";
const MODELS = ["../examples/models/bitnet-jargon", "./fixtures/llama-bitlinear"];

function directoryOf(model: string): string {
  return fileURLToPath(new URL(model, import.meta.url));
}

function readReference(directory: string): Reference {
  return JSON.parse(readFileSync(`${directory}/reference.json`, "utf8"));
}

/** ‖a − b‖ / ‖b‖. */
function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let index = 0; index < b.length; index++) {
    difference += (a[index]! - b[index]!) ** 2;
    norm += b[index]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

function argmax(values: Float32Array): number {
  return values.reduce((best, value, index) => value > values[best]! ? index : best, 0);
}

/**
 * Compares logits [tokens, vocab] with the CPU's.
 *
 * Sums of floats have another order, so an activation near a rounding tie may take another int8
 * value: an error of 1/127 in one of a few dozen terms. That happens to few tokens; the others agree
 * to the precision of f32.
 */
function assertLogits(actual: Float32Array, expected: Float32Array, vocab: number): void {
  const distances = [];
  for (let start = 0; start < expected.length; start += vocab) {
    const end = start + vocab;
    distances.push(distance(actual.subarray(start, end), expected.subarray(start, end)));
  }
  assert.ok(distances.every((value) => value < 3e-2), `${distances}`);
  assert.ok(
    distances.filter((value) => value < 1e-5).length * 2 >= distances.length,
    `${distances}`,
  );
}

for (const name of MODELS) {
  const directory = directoryOf(name);
  const label = name.split("/").at(-1);

  cudaTest(`${label} on CUDA: logits are those of Hugging Face`, async () => {
    using model = await loadModel(directory, { device, tokenizer: false });
    assert.match(model.device, /^cuda:\d$/);
    const vocab = model.config.vocabSize;
    const distances: number[] = [];
    let positions = 0;
    let agreed = 0;
    let worst = 0;
    for (const prompt of readReference(directory).prompts) {
      const { ids, greedy_ids: greedy } = prompt;
      const { logits } = model.forward([...ids, ...greedy]);
      const last = logits.subarray((ids.length - 1) * vocab, ids.length * vocab);
      distances.push(distance(last, prompt.last_logits));
      greedy.forEach((id, step) => {
        const row = logits.subarray((ids.length - 1 + step) * vocab, (ids.length + step) * vocab);
        const best = argmax(row);
        positions += 1;
        if (best === id) agreed += 1;
        worst = Math.max(worst, row[best]! - row[id]!);
      });
    }
    const summary = `${agreed} of ${positions} agree, worst gap ${worst}, distances ${distances}`;
    assert.ok(worst <= 0.05, summary);
    assert.ok(agreed >= 0.95 * positions, summary);
    assert.ok(distances.every((value) => value <= 1e-2), summary);
    assert.ok(distances.filter((value) => value <= 1e-5).length * 2 >= distances.length, summary);
  });

  cudaTest(`${label} on CUDA: the likelihood of held-out text`, async () => {
    using model = await loadModel(directory, { device, tokenizer: false });
    const { val_ids: rows, val_nll_mean: expected } = readReference(directory);
    const mean = rows.reduce((sum, ids) => sum + model.nll(ids), 0) / rows.length;
    assert.ok(Math.abs(mean - expected) <= 2e-3, `${mean}, expected ${expected}`);
  });

  cudaTest(`${label} on CUDA: token by token as all at once`, async () => {
    using model = await loadModel(directory, { device, tokenizer: false });
    const ids = readReference(directory).val_ids[0]!.slice(0, 150);
    const whole = model.forward(ids).logits;
    using cache = model.createCache({ maxTokens: ids.length });
    const { vocabSize } = model.config;
    const single = ids.map((id) => model.forward([id], { cache }).logits);
    assert.equal(cache.length, ids.length);
    // Once more over the same positions, in one piece.
    cache.truncate(40);
    const rest = model.forward(ids.slice(40), { cache }).logits;
    const row = (logits: Float32Array, token: number) =>
      logits.subarray(token * vocabSize, (token + 1) * vocabSize);
    ids.forEach((_, token) => {
      const expected = row(whole, token);
      // A value that took another int8 neighbour stays in the cache, for all that come after.
      assert.ok(distance(single[token]!, expected) < 3e-2, `token ${token}`);
      if (token >= 40) {
        assert.ok(distance(row(rest, token - 40), expected) < 3e-2, `token ${token}`);
      }
    });
    const exact = single.slice(0, 10).map((logits, token) => distance(logits, row(whole, token)));
    assert.ok(exact.filter((value) => value < 1e-5).length >= 5, `${exact}`);
  });

  cudaTest(`${label} on CUDA: greedy tokens are those of the reference`, async () => {
    using model = await loadModel(directory, { device, tokenizer: false });
    using host = await loadModel(directory, { tokenizer: false });
    for (const { ids, greedy_ids: greedy } of readReference(directory).prompts) {
      const first: number[] = [];
      for await (const { id } of model.generate(ids, { maxTokens: 3 })) first.push(id);
      assert.deepEqual(first, greedy.slice(0, 3));
      // What it chose it chose for its own logits, and said how likely it was.
      using cache = model.createCache({ maxTokens: 100 });
      let at = [...ids];
      for await (const { id, logprob } of model.generate(ids, { maxTokens: 12, cache })) {
        const { logits } = host.forward(at, { logits: "last" });
        const best = argmax(logits);
        assert.ok(logits[best]! - logits[id]! <= 0.05, `${id}, the CPU chose ${best}`);
        const total = logits.reduce((sum, logit) => sum + Math.exp(logit - logits[best]!), 0);
        const expected = logits[id]! - logits[best]! - Math.log(total);
        assert.ok(Math.abs(logprob! - expected) < 0.05, `${logprob}, expected ${expected}`);
        at = [...at, id];
      }
      assert.equal(cache.length, at.length);
    }
  });
}

async function withBoth(
  recipe: Recipe,
  use: (there: TernaryModel, here: TernaryModel) => void | Promise<void>,
): Promise<void> {
  await withDirectory(async (directory) => {
    writeModel(directory, makeModel(recipe));
    using there = await loadModel(directory, { device });
    using here = await loadModel(directory);
    await use(there, here);
  });
}

const IDS = [0, 5, 96, 33, 33, 2, 71, 8, 1, 64, 90, 17];
const LLAMA = { architecture: "LlamaForCausalLM" } as const;
const variants: [string, Recipe][] = [
  ["BitNet", {}],
  ["BitNet, tied f16", { float: "F16", tied: true }],
  ["BitNet, silu, bf16, bias", { activation: "silu", float: "BF16", attentionBias: true }],
  ["BitNet, own norms", { useRmsNorm: true }],
  ["BitNet, one head for all keys", { kvHeads: 1 }],
  ["BitNet, heads for each query", { kvHeads: 4 }],
  ["Llama, every bias, own norms", {
    ...LLAMA,
    attentionBias: true,
    mlpBias: true,
    linearClass: "bitlinear",
    useRmsNorm: true,
  }],
  ["Llama, narrow heads", { ...LLAMA, headDim: 6, kvHeads: 2 }],
  ["Llama, heads of two", { ...LLAMA, headDim: 2 }],
  ["Llama, wide heads", { ...LLAMA, hidden: 64, heads: 6, kvHeads: 2, headDim: 200 }],
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
  ["BitNet, heads of 128", { hidden: 512, heads: 4, kvHeads: 2, headDim: 128, intermediate: 640 }],
];

for (const [name, recipe] of variants) {
  cudaTest(`${name}: logits on CUDA are the CPU's`, async () => {
    await withBoth(recipe, (there, here) => {
      const { vocabSize } = here.config;
      const expected = here.forward(IDS).logits;
      assertLogits(there.forward(IDS).logits, expected, vocabSize);
      using cache = there.createCache({ maxTokens: 64 });
      const single = IDS.flatMap((id) => [...there.forward([id], { cache }).logits]);
      assertLogits(Float32Array.from(single), expected, vocabSize);
    });
  });
}

for (const head of ["bf16", "int8"] as const) {
  cudaTest(`a head of ${head}: logits on CUDA are the CPU's`, async () => {
    await withDirectory(async (directory) => {
      writeModel(directory, makeModel({ hidden: 80, intermediate: 100, heads: 4, vocab: 203 }));
      using there = await loadModel(directory, { device, head });
      using here = await loadModel(directory, { head });
      assertLogits(there.forward(IDS).logits, here.forward(IDS).logits, 203);
      assert.equal(there.parameterCount, here.parameterCount);
      assert.ok(there.headBytes > 0 && there.memoryBytes > there.ternaryBytes);
    });
  });
}

cudaTest("a long text through a cache in pieces, and one that slides, as on the CPU", async () => {
  await withBoth({ hidden: 64, heads: 4, kvHeads: 2, headDim: 16 }, (there, here) => {
    const ids = Array.from({ length: 700 }, (_, index) => (index * 37 + 11) % 90);
    for (const options of [{ maxTokens: 700 }, { maxTokens: 50, policy: "slide" as const }]) {
      using cache = there.createCache(options);
      using expected = here.createCache(options);
      let start = 0;
      for (const size of [300, 1, 1, 2, 150, 7, 130, 1, 108]) {
        const piece = ids.slice(start, start + size);
        const actual = there.forward(piece, { cache, logits: "last" }).logits;
        const logits = here.forward(piece, { cache: expected, logits: "last" }).logits;
        assert.ok(distance(actual, logits) < 3e-2, `${distance(actual, logits)} after ${start}`);
        start += size;
      }
      assert.equal(cache.length, expected.length);
      assert.equal(cache.position, 700);
    }
  });
});

cudaTest("a cache on CUDA keeps what is put into it", () => {
  for (const policy of ["error", "slide"] as const) {
    using cache = new KVCache({ layers: 2, kvHeads: 3, headDim: 5, maxTokens: 8, policy, device });
    using expected = new KVCache({ layers: 2, kvHeads: 3, headDim: 5, maxTokens: 8, policy });
    const sizes = policy === "error" ? [3, 5] : [3, 7, 1, 20, 2];
    let next = 0;
    for (const tokens of sizes) {
      const rows = Float32Array.from({ length: tokens * 15 }, () => next++);
      for (const layer of [0, 1]) {
        for (const each of [cache, expected]) each.append(rows, rows.map((x) => -x), layer);
      }
      assert.deepEqual(cache.read(1), expected.read(1));
      assert.equal(cache.length, expected.length);
    }
    if (policy === "error") {
      const token = new Float32Array(15);
      assertThrowsCode(() => cache.append(token, token), "cache_full", /8/);
      cache.truncate(2);
      assert.equal(cache.read(0).keys.length, 30);
    }
    cache.clear();
    assert.ok(cache.isEmpty);
  }
});

cudaTest("models and caches of different devices do not mix; nothing is left", async () => {
  const before = info();
  await withBoth({}, (there, here) => {
    using cache = here.createCache({ maxTokens: 8 });
    assertThrowsCode(() => there.forward([1], { cache }), "invalid_value", /device/);
    using other = there.createCache({ maxTokens: 8 });
    assertThrowsCode(() => here.forward([1], { cache: other }), "invalid_value", /device/);
    there.forward([1, 2, 3], { cache: other });
    there.forward([4], { cache: other });
    assertThrowsCode(() => there.forward([1, 2, 3, 4, 5], { cache: other }), "cache_full", /5/);
    assertThrowsCode(() => there.forward([1e6]), "invalid_value", /token id/);
    assert.equal(other.length, 4);
  });
  assert.equal(info().handles, before.handles);
  assert.equal(info().cuda?.allocatedBytes, before.cuda?.allocatedBytes);
});
