// How fast a model runs on a GPU: decoding and prompts of the shape of BitNet b1.58 2B4T, random weights.
//
//     bun bench/cuda_model.ts [bitnet-2b | tiny] [directory]

import process from "node:process";
import { info, loadModel } from "../mod.ts";
import { note } from "./cuda_rows.ts";
import { randomModel, type SHAPES } from "./report/random_model.ts";

const [name = "bitnet-2b", given] = process.argv.slice(2);
const started = performance.now();
const directory = randomModel(name as keyof typeof SHAPES, given);
console.log(
  `${name}: written in ${((performance.now() - started) / 1000).toFixed(1)} s`,
);
const loading = performance.now();
using model = await loadModel(directory, { device: "cuda", tokenizer: false });
console.log(
  `${info().cuda?.name}: loaded in ${((performance.now() - loading) / 1000).toFixed(1)} s, ` +
    `${(model.memoryBytes / 1e9).toFixed(2)} GB`,
);

note("device", { device: info().cuda!.name, driver: info().cuda!.driver });

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

const vocab = model.config.vocabSize;
const ids = Uint32Array.from(
  { length: 2048 },
  (_, index) => (index * 7919 + 13) % vocab,
);

for (const tokens of [128, 512, 2048]) {
  using cache = model.createCache({ maxTokens: 2048 + 64 });
  const times: number[] = [];
  for (let run = 0; run < 7; run++) {
    cache.clear();
    const start = performance.now();
    model.forward(ids.subarray(0, tokens), { cache, logits: "last" });
    times.push(performance.now() - start);
  }
  const milliseconds = median(times);
  note(`model: prompt of ${tokens}`, {
    us: milliseconds * 1000,
    tokens_per_second: tokens / milliseconds * 1000,
  });
  console.log(
    `prompt of ${tokens}: ${milliseconds.toFixed(2)} ms, ` +
      `${(tokens / milliseconds * 1000).toFixed(0)} tokens/s`,
  );
}

for (const context of [16, 1024]) {
  using cache = model.createCache({ maxTokens: context + 600 });
  const times: number[] = [];
  let last = performance.now();
  const prompt = ids.subarray(0, context);
  for await (const _ of model.generate(prompt, { cache, maxTokens: 512 })) {
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  const later = times.slice(8);
  const mean = later.reduce((sum, time) => sum + time, 0) / later.length;
  note(`model: decoding after ${context}`, {
    us: mean * 1000,
    tokens_per_second: 1000 / mean,
  });
  console.log(
    `decoding after ${context}: ${(mean * 1000).toFixed(0)} us a token, median ` +
      `${(median(later) * 1000).toFixed(0)} us, ${(1000 / mean).toFixed(0)} tokens/s`,
  );
}
