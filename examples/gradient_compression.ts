// How small gradients get, and how close they come back: every codec on the same heavy-tailed gradients.
//
//   bun examples/gradient_compression.ts
//   deno run --allow-ffi --allow-read examples/gradient_compression.ts

import { type CodecName, type CodecOptions, compressionStats, createCodec } from "tritter-accel";

const SHAPE = [1024, 1024] as const;
const COUNT = SHAPE[0] * SHAPE[1];

/** Numbers from 0 to 1, the same every time. */
function uniform(): () => number {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
}

/**
 * Like the gradients of a weight matrix: most of them tiny, rows of different size, and a part that
 * few directions explain.
 */
function makeGradients(): Float32Array<ArrayBuffer> {
  const random = uniform();
  const normal = () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
  const [rows, cols] = SHAPE;
  const scales = Array.from({ length: rows }, () => Math.exp(normal()));
  const left = Float32Array.from({ length: rows }, normal);
  const right = Float32Array.from({ length: cols }, normal);
  return Float32Array.from({ length: COUNT }, (_, index) => {
    const [row, col] = [Math.floor(index / cols), index % cols];
    return 1e-3 * scales[row]! * (normal() ** 3 + left[row]! * right[col]!);
  });
}

const CASES: readonly (readonly [CodecName, CodecOptions])[] = [
  ["entropy", { ratio: 10 }],
  ["entropy", { ratio: 20 }],
  ["entropy", { ratio: 32 }],
  ["entropy", { ratio: 100 }],
  ["entropy", { cosine: 0.95 }],
  ["topk", { ratio: 32 }],
  ["topk", { ratio: 100 }],
  ["rotated", { bits: 4 }],
  ["rotated", { bits: 3 }],
  ["rotated", { bits: 2 }],
  ["rotated", { bits: 1.58 }],
  ["rotated", { bits: 1 }],
  ["ternary", {}],
  ["sign", {}],
  ["vsa", { ratio: 20 }],
  ["vsa", { ratio: 40 }],
  ["lowrank", { shape: SHAPE, rank: 4 }],
  ["projection", { ratio: 10 }],
  ["projection", { ratio: 100 }],
];

const gradients = makeGradients();
console.log(`${COUNT} gradients, ${4 * COUNT} bytes\n`);
console.log("codec                            bytes    ratio   bits   cosine   ms there   ms back");
for (const [name, options] of CASES) {
  const codec = createCodec(name, options);
  // The first call warms up; that of lowrank also finds its directions.
  codec.compress(gradients);
  const start = performance.now();
  const bytes = codec.compress(gradients);
  const between = performance.now();
  const restored = codec.decompress(bytes);
  const end = performance.now();
  const { ratio, bitsPerParameter, cosine } = compressionStats(gradients, restored, bytes);
  const { shape: _, ...shown } = options;
  const label = [name, ...Object.entries(shown).map(([option, value]) => `${option} ${value}`)];
  console.log([
    label.join(" ").padEnd(26),
    String(bytes.length).padStart(11),
    ratio.toFixed(1).padStart(8),
    bitsPerParameter.toFixed(2).padStart(6),
    cosine.toFixed(4).padStart(8),
    (between - start).toFixed(1).padStart(10),
    (end - between).toFixed(1).padStart(9),
  ].join(" "));
}

console.log(
  "\nA projection cannot do better than 1 / sqrt(ratio); its sketches add up, the others do not.",
);
