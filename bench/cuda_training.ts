// How fast models train on a GPU: tokens a second of whole steps, and what of a step the products of
// its linear layers would take as dense bf16 products of cuBLAS.
//
//     bun bench/cuda_training.ts [small | 125m | 350m ...]

import process from "node:process";
import {
  AdamW,
  clearGradients,
  clipByGlobalNorm,
  denseMatmul,
  info,
  Tensor,
  TrainableTransformer,
  type TransformerConfig,
} from "../mod.ts";
import { note } from "./cuda_rows.ts";

interface Case {
  readonly config: TransformerConfig;
  readonly batch: number;
  readonly length: number;
  /** Whether the CPU is measured, too. */
  readonly cpu: boolean;
}

const CASES: Readonly<Record<string, Case>> = {
  small: {
    config: { vocabSize: 4096, hiddenSize: 256, intermediateSize: 688, layers: 4, heads: 4 },
    batch: 4,
    length: 256,
    cpu: true,
  },
  "125m": {
    config: { vocabSize: 32_000, hiddenSize: 768, intermediateSize: 2048, layers: 12, heads: 12 },
    batch: 8,
    length: 1024,
    cpu: false,
  },
  "350m": {
    config: { vocabSize: 32_000, hiddenSize: 1024, intermediateSize: 2816, layers: 24, heads: 16 },
    batch: 8,
    length: 1024,
    cpu: false,
  },
};

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** Milliseconds of a call that waits for the device at its end. */
function time(runs: number, call: () => void): number {
  call();
  const times: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    const start = performance.now();
    call();
    times.push(performance.now() - start);
  }
  return median(times);
}

/** Words of bfloat16 from 1 to 2, with either sign: zeros would let the clock run higher. */
const words = (length: number) =>
  Uint16Array.from({ length }, (_, i) => 0x3f80 | (i * 7919 & 0x7f) | (i * 31 & 0x8000));

/** What the forward and the two backward products of every matrix take cuBLAS as dense bf16. */
function denseMilliseconds({ config, batch, length }: Case): number {
  const { hiddenSize: hidden, intermediateSize: inner, layers, vocabSize } = config;
  const tokens = batch * length;
  const matrices: [number, number, number][] = [
    [hidden, hidden, 4 * layers],
    [hidden, inner, 3 * layers],
    [hidden, vocabSize, 1],
  ];
  let total = 0;
  for (const [k, n, count] of matrices) {
    using a = Tensor.from(words(tokens * k), [tokens, k], { device: "cuda" });
    using b = Tensor.from(words(n * k), [n, k], { device: "cuda" });
    using out = Tensor.from(new Float32Array(tokens * n), [tokens, n], { device: "cuda" });
    using end = Tensor.from(new Float32Array(1), [1], { device: "cuda" });
    const runs = 10;
    const milliseconds = time(3, () => {
      for (let run = 0; run < runs; run += 1) {
        denseMatmul(a, b, [tokens, n, k], { half: "bf16", transposeB: true, out });
      }
      end.data();
    });
    total += 3 * count * milliseconds / runs;
  }
  return total;
}

/** Times the parts of steps; returns tokens a second. */
function measure(name: string, given: Case, onDevice: boolean): number {
  const { config, batch, length } = given;
  const start = new TrainableTransformer(config, { seed: 1 });
  const owned = onDevice ? start.to("cuda") : undefined;
  const model = owned ?? start;
  using optimizer = new AdamW();
  const tokens = batch * length;
  const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 7919 + 13) % config.vocabSize);
  const targets = Int32Array.from(ids, (_, i) => ids[i + 1] ?? -100);
  const { parameters } = model as { parameters: Parameters<typeof clearGradients>[0] };
  const gradients = parameters.map(({ gradient }) => gradient) as Tensor[];
  // A look at a few numbers waits for all; those of a table would take longer to travel than to compute.
  const [smallest] = gradients.toSorted((a, b) => a.size - b.size);
  const wait = () => void (onDevice && smallest!.data());
  const backward = () =>
    (model as TrainableTransformer).lossAndGradients(ids, targets, [batch, length]);
  const runs = onDevice ? 7 : 2;
  const forward = time(runs, () => void model.loss(ids, targets, [batch, length]));
  const both = time(runs, () => {
    backward();
    wait();
  });
  const whole = time(runs, () => {
    clearGradients(parameters);
    backward();
    clipByGlobalNorm(gradients, 1);
    optimizer.step(parameters, 1e-4);
    wait();
  });
  const perSecond = tokens / whole * 1000;
  const where = onDevice ? "GPU" : "CPU";
  note(`training: ${name} on the ${where}`, { us: whole * 1000, tokens_per_second: perSecond });
  const memory = owned === undefined ? "" : `, ${(owned.memoryBytes / 1e9).toFixed(2)} GB`;
  console.log(
    `${name} (${
      (start.parameterCount / 1e6).toFixed(1)
    } M) on the ${where}, ${batch} x ${length}: ` +
      `forward ${forward.toFixed(2)} ms, with backward ${both.toFixed(2)} ms, ` +
      `step ${whole.toFixed(2)} ms, ${perSecond.toFixed(0)} tokens/s${memory}`,
  );
  if (onDevice) {
    const dense = denseMilliseconds(given);
    console.log(
      `  its products as dense bf16: ${dense.toFixed(2)} ms, ` +
        `${(100 * dense / whole).toFixed(0)} % of the step`,
    );
  }
  owned?.[Symbol.dispose]();
  return perSecond;
}

console.log(`${info().cuda?.name}, ${info().threads} threads of ${info().isa}`);
const names = process.argv.slice(2);
for (const name of names.length > 0 ? names : Object.keys(CASES)) {
  const given = CASES[name]!;
  const device = measure(name, given, true);
  if (!given.cpu) continue;
  console.log(`  ${(device / measure(name, given, false)).toFixed(1)} times the CPU`);
}
