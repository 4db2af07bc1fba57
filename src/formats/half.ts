// Half precision: bf16 and f16, as 16-bit words.

import { checkArray, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { type Dtype, emptyTensorOf, memoryHandle, Tensor } from "../tensor.ts";

/** Where 16-bit floats go. */
export interface HalfOutOptions {
  /** Takes the words, as many as there are values, instead of a new array. */
  out?: Uint16Array | undefined;
}

/** Where the values of 16-bit floats go. */
export interface FloatOutOptions {
  /** Takes the values, as many as there are words, instead of a new array. */
  out?: Float32Array | undefined;
}

/** Where a tensor of 16-bit floats goes. */
export interface HalfTensorOptions {
  /** Takes the words, a u16 tensor of as many elements and on the same device, instead of a new one. */
  out?: Tensor<"u16"> | undefined;
}

/** Where a tensor of floats goes. */
export interface FloatTensorOptions {
  /** Takes the values, an f32 tensor of as many elements and on the same device, instead of a new one. */
  out?: Tensor<"f32"> | undefined;
}

/** The library's numbers for the formats. */
const F16 = 1;
const BF16 = 2;

/** The tensor that a conversion writes, and whether it is the caller's. */
function targetOf<D extends Dtype>(dtype: D, source: Tensor, out: unknown): Tensor<D> {
  if (out === undefined) return emptyTensorOf(dtype, source.shape, source.device);
  if (!(out instanceof Tensor)) {
    throw tritterError("invalid_type", "out must be a Tensor where the source is one");
  }
  if (out.size !== source.size) {
    throw tritterError("invalid_length", `out must have ${source.size} elements, got ${out.size}`);
  }
  if (out.device !== source.device) {
    throw tritterError(
      "invalid_value",
      `out must be on ${source.device} as the source is, got a tensor on ${out.device}`,
    );
  }
  return out as Tensor<D>;
}

/** Converts a tensor where it is. */
function convert<F extends Dtype, T extends Dtype>(
  source: Tensor,
  [from, to]: readonly [F, T],
  options: { out?: unknown } | undefined,
  float: number,
): Tensor<T> {
  const { out } = checkOptions(options, "options");
  const { device } = source;
  if (device === "cpu") {
    const words = source.data();
    const target = out === undefined ? undefined : targetOf(to, source, out);
    const given = target && { out: target.data() };
    const result = from === "f32"
      ? narrow(words as Float32Array, given as HalfOutOptions, float)
      : widen(words as Uint16Array, given as FloatOutOptions, float);
    return target ??
      Tensor.from(result, source.shape, { device: "cpu" }) as Tensor<Dtype> as Tensor<T>;
  }
  const handle = memoryHandle(source, from, device, from === "f32" ? "values" : "words");
  const target = targetOf(to, source, out);
  const into = memoryHandle(target, to, device, "out");
  check(
    from === "f32"
      ? native.cuda_floats_narrow(handle, into, float)
      : native.cuda_floats_widen(handle, into, float),
  );
  return target;
}

function narrow(values: Float32Array, options: HalfOutOptions | undefined, float: number) {
  const { out } = checkOptions(options, "options");
  checkArray(values, Float32Array, "values");
  const length = values.length;
  const words = out === undefined
    ? new Uint16Array(length)
    : checkArray(out, Uint16Array, "out", length);
  if (length > 0) check(native.floats_narrow(values, length, words, length, float));
  return words as Uint16Array<ArrayBuffer>;
}

function widen(words: Uint16Array, options: FloatOutOptions | undefined, float: number) {
  const { out } = checkOptions(options, "options");
  checkArray(words, Uint16Array, "words");
  const length = words.length;
  const values = out === undefined
    ? new Float32Array(length)
    : checkArray(out, Float32Array, "out", length);
  if (length > 0) check(native.floats_widen(words, length, values, length, float));
  return values as Float32Array<ArrayBuffer>;
}

/**
 * Rounds floats to bfloat16: 1 sign, 8 exponent and 7 fraction bits, the upper half of a float32.
 *
 * To nearest, ties to even. NaN stays NaN (quiet, with the upper bits of its payload), infinities
 * stay, and what rounds beyond the largest bfloat16 (3.39e38) becomes infinite. `out` must not overlap
 * the values.
 *
 * @example
 * ```ts
 * import { fromBf16, toBf16 } from "tritter-accel";
 *
 * const words = toBf16(Float32Array.of(3.14159, -1));
 * console.log(words[0]!.toString(16)); // 4049
 * console.log(fromBf16(words)); // 3.140625 -1
 * ```
 */
export function toBf16(values: Float32Array, options?: HalfOutOptions): Uint16Array<ArrayBuffer>;
/** Rounds a tensor, on the device where it is. */
export function toBf16(values: Tensor, options?: HalfTensorOptions): Tensor<"u16">;
export function toBf16(
  values: Float32Array | Tensor,
  options?: HalfOutOptions | HalfTensorOptions,
): Uint16Array<ArrayBuffer> | Tensor<"u16"> {
  if (values instanceof Tensor) return convert(values, ["f32", "u16"], options, BF16);
  return narrow(values, options as HalfOutOptions, BF16);
}

/**
 * Returns the values of bfloat16 words; every one of them is a float32.
 *
 * @example
 * ```ts
 * import { fromBf16 } from "tritter-accel";
 *
 * console.log(fromBf16(Uint16Array.of(0x3f80, 0xc000))); // 1 -2
 * ```
 */
export function fromBf16(words: Uint16Array, options?: FloatOutOptions): Float32Array<ArrayBuffer>;
/** Returns the values of a u16 tensor, on the device where it is. */
export function fromBf16(words: Tensor, options?: FloatTensorOptions): Tensor<"f32">;
export function fromBf16(
  words: Uint16Array | Tensor,
  options?: FloatOutOptions | FloatTensorOptions,
): Float32Array<ArrayBuffer> | Tensor<"f32"> {
  if (words instanceof Tensor) return convert(words, ["u16", "f32"], options, BF16);
  return widen(words, options as FloatOutOptions, BF16);
}

/**
 * Rounds floats to IEEE 754 half precision: 1 sign, 5 exponent and 10 fraction bits.
 *
 * To nearest, ties to even. Below 6.1e-5 there are subnormal numbers, down to 6e-8. NaN stays NaN
 * (quiet, with the upper bits of its payload), infinities stay, and from 65,520 on values become
 * infinite: scale the loss (`LossScaler`) or clip first. `out` must not overlap the values.
 *
 * @example
 * ```ts
 * import { fromF16, toF16 } from "tritter-accel";
 *
 * const words = toF16(Float32Array.of(0.1, 65504, 65520));
 * console.log(fromF16(words)); // 0.0999755859375 65504 Infinity
 * ```
 */
export function toF16(values: Float32Array, options?: HalfOutOptions): Uint16Array<ArrayBuffer>;
/** Rounds a tensor, on the device where it is. */
export function toF16(values: Tensor, options?: HalfTensorOptions): Tensor<"u16">;
export function toF16(
  values: Float32Array | Tensor,
  options?: HalfOutOptions | HalfTensorOptions,
): Uint16Array<ArrayBuffer> | Tensor<"u16"> {
  if (values instanceof Tensor) return convert(values, ["f32", "u16"], options, F16);
  return narrow(values, options as HalfOutOptions, F16);
}

/**
 * Returns the values of half-precision words; every one of them is a float32.
 *
 * @example
 * ```ts
 * import { fromF16 } from "tritter-accel";
 *
 * console.log(fromF16(Uint16Array.of(0x3c00, 0xfc00))); // 1 -Infinity
 * ```
 */
export function fromF16(words: Uint16Array, options?: FloatOutOptions): Float32Array<ArrayBuffer>;
/** Returns the values of a u16 tensor, on the device where it is. */
export function fromF16(words: Tensor, options?: FloatTensorOptions): Tensor<"f32">;
export function fromF16(
  words: Uint16Array | Tensor,
  options?: FloatOutOptions | FloatTensorOptions,
): Float32Array<ArrayBuffer> | Tensor<"f32"> {
  if (words instanceof Tensor) return convert(words, ["u16", "f32"], options, F16);
  return widen(words, options as FloatOutOptions, F16);
}
