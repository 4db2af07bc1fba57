// What several tests share: seeded numbers, plain references, and assertions.

import assert from "node:assert/strict";
import { getThreads, info, type Isa, setIsa, setThreads, TritterError } from "../mod.ts";

export type Shape = readonly [number, number];

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Floats from -1 to 1. */
export function randomFloats(length: number, seed: number): Float32Array<ArrayBuffer> {
  const random = seeded(seed);
  return new Float32Array(length).map(() => 2 * random() - 1);
}

/** A third each of -1, 0 and 1. */
export function randomTrits(length: number, seed: number): Int8Array<ArrayBuffer> {
  const random = seeded(seed);
  return new Int8Array(length).map(() => Math.floor(3 * random()) - 1);
}

/** A copy that starts one element into its buffer, so that no wide load is aligned. */
export function unaligned<A extends Float32Array | Int8Array | Uint8Array>(values: A): A {
  const type = values.constructor as new (length: number) => A;
  const view = new type(values.length + 1).subarray(1) as A;
  view.set(values);
  return view;
}

/** The product in float64, and for each output the sum of |weight x activation| that errors scale with. */
export function productF64(
  input: Float32Array,
  trits: Int8Array,
  scales: Float32Array,
  [rows, cols]: Shape,
): { values: Float64Array; magnitudes: Float64Array } {
  const batch = input.length / cols;
  const groupSize = rows * cols / scales.length;
  const values = new Float64Array(batch * rows);
  const magnitudes = new Float64Array(batch * rows);
  for (let token = 0; token < batch; token++) {
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        const weight = row * cols + col;
        const term = trits[weight]! * scales[Math.floor(weight / groupSize)]! *
          input[token * cols + col]!;
        values[token * rows + row]! += term;
        magnitudes[token * rows + row]! += Math.abs(term);
      }
    }
  }
  return { values, magnitudes };
}

function roundTiesToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** One row of activations as the library quantises it, step by step in float32. */
export function quantizeRow(row: Float32Array): { quantized: number[]; scale: number } {
  const absmax = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (absmax === 0) return { quantized: Array.from(row, () => 0), scale: 1 };
  // A power of two keeps 127 / absmax finite for tiny rows, and changes no digit elsewhere.
  const factor = absmax < 2 ** -96 ? 2 ** 96 : 1;
  const inverse = Math.fround(127 / Math.fround(absmax * factor));
  const quantized = Array.from(row, (value) => {
    const rounded = roundTiesToEven(Math.fround(Math.fround(value * factor) * inverse));
    return Math.max(-127, Math.min(127, rounded));
  });
  return { quantized, scale: Math.fround(absmax / 127) };
}

/** The product with int8 activations, with the library's order of float32 roundings. */
export function productInt8(
  input: Float32Array,
  trits: Int8Array,
  scales: Float32Array,
  [rows, cols]: Shape,
  bias?: Float32Array,
): Float32Array<ArrayBuffer> {
  const batch = input.length / cols;
  const groups = scales.length / rows;
  const groupSize = cols / groups;
  const output = new Float32Array(batch * rows);
  for (let token = 0; token < batch; token++) {
    const { quantized, scale } = quantizeRow(input.subarray(token * cols, (token + 1) * cols));
    for (let row = 0; row < rows; row++) {
      let total = 0;
      for (let group = 0; group < groups; group++) {
        let exact = 0;
        for (let col = group * groupSize; col < (group + 1) * groupSize; col++) {
          exact += trits[row * cols + col]! * quantized[col]!;
        }
        const scaled = Math.fround(Math.fround(exact) * scales[row * groups + group]!);
        total = Math.fround(total + scaled);
      }
      const value = Math.fround(total * scale);
      output[token * rows + row] = bias === undefined ? value : Math.fround(value + bias[row]!);
    }
  }
  return output;
}

/** Runs a test on every instruction-set tier that the machine has, with one and two threads. */
export function onEveryTier(run: (label: string) => void): void {
  const { isa, isas } = info();
  const threads = getThreads();
  try {
    for (const tier of isas) {
      for (const count of [1, 2]) {
        setIsa(tier as Isa);
        setThreads(count);
        assert.equal(info().isa, tier);
        run(`${tier}, ${count} threads`);
      }
    }
  } finally {
    setIsa(isa);
    setThreads(threads);
  }
}

/** Every element is the same number, with the same sign of zero; NaN equals NaN. */
export function assertSame(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  label = "value",
): void {
  assert.equal(actual.length, expected.length, `${label}: length`);
  for (let index = 0; index < expected.length; index++) {
    if (Object.is(actual[index], expected[index])) continue;
    assert.fail(`${label}[${index}] is ${actual[index]}, expected ${expected[index]}`);
  }
}

/** Every element is within its tolerance. */
export function assertNear(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number | ((index: number) => number),
  label = "value",
): void {
  assert.equal(actual.length, expected.length, `${label}: length`);
  for (let index = 0; index < expected.length; index++) {
    const allowed = typeof tolerance === "number" ? tolerance : tolerance(index);
    if (Math.abs(actual[index]! - expected[index]!) <= allowed) continue;
    assert.fail(
      `${label}[${index}] is ${actual[index]}, expected ${expected[index]} within ${allowed}`,
    );
  }
}

/** The call throws an error of this library with this code, and a message that matches. */
export function assertThrowsCode(call: () => unknown, code: string, message: RegExp = /./): void {
  assert.throws(call, (error: unknown) => {
    if (!(error instanceof TritterError)) return false;
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    assert.doesNotMatch(error.message, /\.$/);
    return true;
  });
}

/** Passes a value of a type that TypeScript would refuse. */
// deno-lint-ignore no-explicit-any
export function wrong(value: unknown): any {
  return value;
}
