// Quantises one weight matrix by every method and shows what each keeps of it.
//
//   bun examples/quantization.ts
//   deno run --allow-ffi --allow-read examples/quantization.ts

import { type PackedTernary, QuantizationResult, type QuantizeConfig } from "tritter-accel";

const ROWS = 64;
const COLS = 1024;

/** Normally distributed numbers, the same for the same seed: mulberry32 and Box-Muller. */
function normal(length: number, deviation: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 1) / 2 ** 32;
  };
  return Float32Array.from({ length }, () => {
    return deviation * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  });
}

/** Weights of trained layers are close to normally distributed. */
const weights = normal(ROWS * COLS, 0.02, 1);

/** Signal over noise, in decibels: how near the quantised weights are to the original. */
function signalToNoise(quantized: Float32Array): number {
  let signal = 0;
  let noise = 0;
  for (let index = 0; index < weights.length; index++) {
    signal += weights[index]! ** 2;
    noise += (weights[index]! - quantized[index]!) ** 2;
  }
  return 10 * Math.log10(signal / noise);
}

const configs: QuantizeConfig[] = [
  { method: "absmean" },
  { method: "absmean", scale: "leastSquares" },
  { method: "absmean", scale: "leastSquares", groupSize: 64 },
  { method: "absmax" },
  { method: "twn" },
  { method: "percentile", percentile: 45 },
  { method: "meanStd", k: -0.3 },
  { method: "manual", threshold: 0.012 },
];

console.log(`${ROWS} x ${COLS} weights, ${weights.byteLength} bytes as fp32\n`);
let best = 0;
console.log("method                                 zeros   signal/noise   bytes   smaller");
for (const config of configs) {
  const result = QuantizationResult.fromWeights(weights, [ROWS, COLS], config);
  using packed: PackedTernary = result.toPacked();
  const decibels = signalToNoise(result.dequantize());
  best = Math.max(best, decibels);
  const name = [
    config.method,
    config.scale === "leastSquares" ? "least squares" : "",
    config.groupSize === undefined ? "" : `groups of ${config.groupSize}`,
  ].filter((part) => part !== "").join(", ");
  console.log([
    name.padEnd(37),
    `${(100 * packed.sparsity).toFixed(1)} %`.padStart(7),
    `${decibels.toFixed(2)} dB`.padStart(14),
    String(packed.memoryBytes).padStart(7),
    `${packed.compressionRatio.toFixed(1)}x`.padStart(9),
  ].join(" "));
}
// No three levels can do better for normally distributed numbers (Lloyd and Max); here there are few.
const LIMIT = 7.21;
if (!(Math.abs(best - LIMIT) < 0.2)) {
  throw new Error(`expected a best method near ${LIMIT} dB, got ${best.toFixed(2)} dB`);
}
