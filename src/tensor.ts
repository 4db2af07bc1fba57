// A typed array with a shape and a device.

import { checkArray, checkOptions, checkShape } from "./checks.ts";
import { type Device, namedDevice, resolveDevice } from "./device.ts";
import { tritterError } from "./errors.ts";

/**
 * The typed array of each dtype.
 *
 * `u16` also carries the raw bits of 16-bit floats (f16 and bf16), which JavaScript does not compute with.
 */
export interface TensorArrays {
  /** 32-bit floats. */
  f32: Float32Array;
  /** 64-bit floats. */
  f64: Float64Array;
  /** Signed bytes. */
  i8: Int8Array;
  /** Bytes. */
  u8: Uint8Array;
  /** Unsigned 16-bit integers, or the bits of 16-bit floats. */
  u16: Uint16Array;
  /** Signed 32-bit integers. */
  i32: Int32Array;
  /** Unsigned 32-bit integers. */
  u32: Uint32Array;
}

/** Name of an element type. */
export type Dtype = keyof TensorArrays;

/** The dtype of a typed array. */
export type DtypeOf<A> = {
  [D in Dtype]: A extends TensorArrays[D] ? D : never;
}[Dtype];

const DTYPES = {
  Float32Array: "f32",
  Float64Array: "f64",
  Int8Array: "i8",
  Uint8Array: "u8",
  Uint16Array: "u16",
  Int32Array: "i32",
  Uint32Array: "u32",
} as const;

const ARRAYS = {
  f32: Float32Array,
  f64: Float64Array,
  i8: Int8Array,
  u8: Uint8Array,
  u16: Uint16Array,
  i32: Int32Array,
  u32: Uint32Array,
} as const;

/** Returns a copy of a shape of any rank; a scalar has none. */
function checkAnyShape(shape: readonly number[]): readonly number[] {
  if (!Array.isArray(shape)) {
    throw tritterError(
      "invalid_type",
      `shape must be an array of positive integers, got ${shape === null ? "null" : typeof shape}`,
    );
  }
  return Object.freeze(checkShape(shape, "shape", shape.length));
}

function dtypeOf(data: unknown): Dtype {
  const tag = ArrayBuffer.isView(data) ? Object.prototype.toString.call(data).slice(8, -1) : "";
  const dtype = DTYPES[tag as keyof typeof DTYPES];
  if (dtype !== undefined) return dtype;
  throw tritterError(
    "invalid_type",
    `data must be a ${Object.keys(DTYPES).join(", ")}, got ${
      tag || (data === null ? "null" : typeof data)
    }`,
  );
}

/**
 * A typed array with a shape and a device; on the CPU it wraps the array without a copy.
 *
 * Shapes are row-major. After `using` or `[Symbol.dispose]()` every use throws `disposed`.
 *
 * @example
 * ```ts
 * import { Tensor } from "tritter-accel";
 *
 * using x = Tensor.from(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
 * using y = x.reshape([3, 2]);
 * console.log(y.shape, y.dtype, y.data()[5]); // [ 3, 2 ] f32 6
 * ```
 */
export class Tensor<D extends Dtype = Dtype> {
  /** Element type. */
  readonly dtype: D;
  /** Size of each axis. */
  readonly shape: readonly number[];
  /** Where the data lives. */
  readonly device: "cpu";
  /** Number of elements. */
  readonly size: number;

  #data: TensorArrays[D] | undefined;

  /**
   * Does what `Tensor.from` does, which TypeScript understands better: it knows the dtype by the array.
   *
   * @example
   * ```ts
   * import { Tensor } from "tritter-accel";
   *
   * const x = new Tensor<"f32">(Float32Array.of(1, 2), [1, 2]);
   * console.log(x.dtype, x.shape); // f32 [ 1, 2 ]
   * ```
   */
  constructor(
    data: TensorArrays[D],
    shape: readonly number[],
    options?: { device?: Device | undefined },
  ) {
    const { device } = checkOptions(options, "options");
    this.dtype = dtypeOf(data) as D;
    this.shape = checkAnyShape(shape);
    this.size = this.shape.reduce((product, axis) => product * axis, 1);
    this.#data = checkArray(data, ARRAYS[this.dtype], "data", this.size) as TensorArrays[D];
    this.device = resolveDevice(device);
  }

  /**
   * Wraps a typed array; on the CPU later changes of the array are changes of the tensor.
   *
   * Throws `invalid_length` if the shape does not have as many elements as the array, and
   * `device_unavailable` for a device that is not there.
   *
   * @example
   * ```ts
   * import { Tensor } from "tritter-accel";
   *
   * const trits = Tensor.from(Int8Array.of(1, 0, -1), [3], { device: "cpu" });
   * console.log(trits.dtype); // i8
   * ```
   */
  static from<A extends TensorArrays[Dtype]>(
    data: A,
    shape: readonly number[],
    options?: { device?: Device | undefined },
  ): Tensor<DtypeOf<A>> {
    const typed: unknown = data;
    return new Tensor(typed as TensorArrays[DtypeOf<A>], shape, options);
  }

  /**
   * Returns the tensor on another device: itself where it already is there.
   *
   * @example
   * ```ts
   * import { Tensor } from "tritter-accel";
   *
   * const x = Tensor.from(new Float32Array(4), [4]);
   * console.log(x.to("cpu") === x); // true
   * ```
   */
  to(device: Device): this {
    this.data();
    namedDevice(device);
    return this;
  }

  /**
   * Returns the elements: the wrapped array itself, not a copy.
   *
   * @example
   * ```ts
   * import { Tensor } from "tritter-accel";
   *
   * const array = new Float32Array(4);
   * console.log(Tensor.from(array, [2, 2]).data() === array); // true
   * ```
   */
  data(): TensorArrays[D] {
    if (this.#data === undefined) throw tritterError("disposed", "Tensor is disposed");
    return this.#data;
  }

  /**
   * Returns a tensor of another shape over the same elements.
   *
   * @example
   * ```ts
   * import { Tensor } from "tritter-accel";
   *
   * console.log(Tensor.from(new Float32Array(6), [6]).reshape([2, 3]).shape); // [ 2, 3 ]
   * ```
   */
  reshape(shape: readonly number[]): Tensor<D> {
    const data = this.data();
    const sizes = checkAnyShape(shape);
    const size = sizes.reduce((product, axis) => product * axis, 1);
    if (size !== this.size) {
      throw tritterError(
        "invalid_shape",
        `shape must have ${this.size} elements, got [${sizes.join(", ")}]`,
      );
    }
    return new Tensor(data, sizes, { device: this.device });
  }

  /** Lets go of the data; a CPU array lives on for whoever else holds it. */
  [Symbol.dispose](): void {
    this.#data = undefined;
  }
}

/** Returns the floats of an array or of an f32 tensor: as many as asked for. */
export function floatsOf(
  value: Float32Array | Tensor,
  name: string,
  length?: number,
): Float32Array {
  if (!(value instanceof Tensor)) return checkArray(value, Float32Array, name, length);
  if (value.dtype !== "f32") {
    throw tritterError("invalid_type", `${name} must have dtype f32, got ${value.dtype}`);
  }
  // Its buffer may have been detached or resized since the tensor was made.
  const floats = checkArray(value.data(), Float32Array, name, value.size);
  return length === undefined ? floats : checkArray(floats, Float32Array, name, length);
}

/** Returns an f32 tensor as it is, and throws for anything else. */
export function checkTensor(value: unknown, name: string): Tensor<"f32"> {
  if (!(value instanceof Tensor)) {
    throw tritterError("invalid_type", `${name} must be a Tensor`);
  }
  floatsOf(value, name);
  return value as Tensor<"f32">;
}
