// A language model end to end: a token at a time, a prompt at once, loading.
//
// The model is the small one of examples/models, or a directory named on the command line:
// bun bench/inference.bench.ts path/to/a/model. There is no other BitNet runtime for Deno and Bun
// to compare with; the products inside are compared in matmul.bench.ts.

import process from "node:process";
import { bench, run } from "mitata";
import { info, loadModel } from "../mod.ts";

const directory = process.argv[2] ??
  new URL("../examples/models/bitnet-jargon", import.meta.url);
const { isa, threads } = info();
const model = await loadModel(directory, { tokenizer: false });
const { vocabSize } = model.config;
console.log(
  `${isa}, ${threads} threads; ${(model.parameterCount / 1e6).toFixed(1)} M parameters, ` +
    `${(model.memoryBytes / 1e6).toFixed(1)} MB`,
);

function tokens(count: number): Uint32Array {
  return Uint32Array.from(
    { length: count },
    (_, index) => (index * 7919 + 1) % vocabSize,
  );
}

for (const held of [0, 256]) {
  const cache = model.createCache({ maxTokens: held + 1 });
  if (held > 0) model.forward(tokens(held), { cache, logits: "last" });
  bench(`one token after ${held}`, () => {
    model.forward([1], { cache, logits: "last" });
    cache.truncate(held);
  });
}

for (const count of [16, 64, 256]) {
  const prompt = tokens(count);
  bench(`a prompt of ${count} tokens`, () => {
    model.forward(prompt, { logits: "last" });
  });
}

const text = tokens(256);
bench("likelihood of 256 tokens", () => {
  model.nll(text);
});

bench("load and dispose", async () => {
  (await loadModel(directory, { tokenizer: false }))[Symbol.dispose]();
});

await run();
