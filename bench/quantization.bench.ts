// How long quantising takes: weights once per model, activations once per layer and token.

import { bench, do_not_optimize, run } from "mitata";
import {
  info,
  QuantizationResult,
  quantizeActivationsAbsmax,
  type QuantizeConfig,
  quantizeWeightsAbsmean,
} from "../mod.ts";

const { isa, threads } = info();
console.log(`${isa}, ${threads} threads`);

function weightsOf(length: number): Float32Array {
  return Float32Array.from({ length }, (_, index) => Math.sin(index * index));
}

for (const size of [256, 1024]) {
  const weights = weightsOf(size * size);
  const out = new Int8Array(size * size);
  bench(`absmean ${size} x ${size}`, () => {
    do_not_optimize(quantizeWeightsAbsmean(weights, [size, size], { out }));
  });
  bench(`absmean ${size} x ${size}, groups of 64`, () => {
    do_not_optimize(
      quantizeWeightsAbsmean(weights, [size, size], { groupSize: 64, out }),
    );
  });
}

const square = weightsOf(512 * 512);
const methods: QuantizeConfig[] = [
  { method: "absmax" },
  { method: "twn" },
  { method: "percentile", percentile: 50 },
  { method: "meanStd", k: 0 },
];
for (const config of methods) {
  bench(`${config.method} 512 x 512`, () => {
    do_not_optimize(QuantizationResult.fromWeights(square, [512, 512], config));
  });
}

for (
  const [batch, features] of [[1, 2560], [64, 2560], [1024, 2560]] as const
) {
  const activations = weightsOf(batch * features);
  const out = new Int8Array(batch * features);
  bench(`activations ${batch} x ${features}`, () => {
    do_not_optimize(
      quantizeActivationsAbsmax(activations, [batch, features], { out }),
    );
  });
}

await run();
