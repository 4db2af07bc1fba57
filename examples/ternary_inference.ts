// A two-layer network with ternary weights: what it saves, and what it costs in accuracy.
//
//   bun examples/ternary_inference.ts
//   deno run --allow-ffi --allow-read examples/ternary_inference.ts

import { BitLinear, InferenceEngine, Tensor } from "tritter-accel";

const FEATURES = 512;
const HIDDEN = 2048;
const TOKENS = 8;

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

function cosine(a: Float32Array, b: Float32Array): number {
  let [dot, squaresA, squaresB] = [0, 0, 0];
  for (let index = 0; index < a.length; index++) {
    dot += a[index]! * b[index]!;
    squaresA += a[index]! ** 2;
    squaresB += b[index]! ** 2;
  }
  return dot / Math.sqrt(squaresA * squaresB);
}

const upWeights = normal(HIDDEN * FEATURES, 0.02, 1);
const downWeights = normal(FEATURES * HIDDEN, 0.02, 2);
const input = Tensor.from(normal(TOKENS * FEATURES, 1, 3), [TOKENS, FEATURES]);

// Each layer normalises its input, quantises it to bytes and multiplies by ternary weights.
const options = { groupSize: 128, scale: "leastSquares" } as const;
using up = BitLinear.fromWeights(upWeights, [HIDDEN, FEATURES], {
  ...options,
  normWeight: new Float32Array(FEATURES).fill(1),
});
using down = BitLinear.fromWeights(downWeights, [FEATURES, HIDDEN], {
  ...options,
  normWeight: new Float32Array(HIDDEN).fill(1),
});

/** The activation of BitNet b1.58: the square of what is positive. */
function squaredRelu(values: Tensor<"f32">): Tensor<"f32"> {
  return Tensor.from(values.data().map((value) => Math.max(value, 0) ** 2), values.shape);
}

function ternaryNetwork(x: Tensor<"f32">): Tensor<"f32"> {
  return down.forward(squaredRelu(up.forward(x)));
}

const engine = new InferenceEngine();
const upMatrix = Tensor.from(upWeights, [HIDDEN, FEATURES]);
const downMatrix = Tensor.from(downWeights, [FEATURES, HIDDEN]);

function fp32Network(x: Tensor<"f32">): Tensor<"f32"> {
  const normalized = engine.rmsNorm(x, new Float32Array(FEATURES).fill(1));
  const hidden = squaredRelu(engine.linear(normalized, upMatrix));
  const scaled = engine.rmsNorm(hidden, new Float32Array(HIDDEN).fill(1));
  return engine.linear(scaled, downMatrix);
}

/** The least of a few runs, in milliseconds: the others were disturbed. */
function milliseconds(run: () => void): number {
  let least = Infinity;
  for (let round = 0; round < 20; round++) {
    const start = performance.now();
    run();
    least = Math.min(least, performance.now() - start);
  }
  return least;
}

const ternary = ternaryNetwork(input);
const fp32 = fp32Network(input);
const fp32Bytes = upWeights.byteLength + downWeights.byteLength;
const ternaryBytes = up.memoryBytes + down.memoryBytes;

console.log(`${TOKENS} tokens through ${FEATURES} -> ${HIDDEN} -> ${FEATURES}`);
console.log(`output shape        [${ternary.shape.join(", ")}]`);
console.log(`weights, fp32       ${fp32Bytes} bytes`);
console.log(
  `weights, ternary    ${ternaryBytes} bytes, ${(fp32Bytes / ternaryBytes).toFixed(1)}x smaller`,
);
console.log(`time, fp32 layers   ${milliseconds(() => fp32Network(input)).toFixed(2)} ms`);
console.log(`time, ternary       ${milliseconds(() => ternaryNetwork(input)).toFixed(2)} ms`);
const likeness = cosine(ternary.data(), fp32.data());
console.log(`cosine to fp32      ${likeness.toFixed(3)}`);
console.log("Weights quantised after training lose this much; BitNet models are trained ternary.");
if (!(likeness > 0.7)) throw new Error(`expected a cosine above 0.7, got ${likeness.toFixed(3)}`);
