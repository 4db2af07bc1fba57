// A typed array with a shape and a device.

import { checkArray, checkOptions, checkShape } from "./checks.ts";
import { cudaIndex, type Device, namedPlace, type Place, placeOf } from "./device.ts";
import { tritterError } from "./errors.ts";
import { check, native, NativeHandle } from "./native/library.ts";

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

/** What only this module can pass to the constructor of a tensor: memory that is on a device. */
const RESIDENT = Symbol("resident");

interface Resident {
  place: Place;
  memory: NativeHandle;
}

/** The device memory of a tensor. */
let memoryOf: (tensor: Tensor) => NativeHandle | undefined;

/** Bytes that one call copies: a length is 32 bits wide. */
const COPY_BYTES = 2 ** 30;

function createMemory(place: Place, bytes: number): NativeHandle {
  const handle = new BigUint64Array(1);
  check(native.cuda_tensor_create(cudaIndex(place), BigInt(bytes), handle, 1));
  return new NativeHandle(handle[0]!, "Tensor");
}

/** The bytes of an array, in pieces that a call can copy. */
function* piecesOf(array: ArrayBufferView): Generator<[bigint, Uint8Array]> {
  for (let offset = 0; offset < array.byteLength; offset += COPY_BYTES) {
    const length = Math.min(COPY_BYTES, array.byteLength - offset);
    yield [BigInt(offset), new Uint8Array(array.buffer, array.byteOffset + offset, length)];
  }
}

function writeMemory(memory: NativeHandle, array: ArrayBufferView): void {
  for (const [offset, bytes] of piecesOf(array)) {
    check(native.cuda_tensor_write(memory.value, offset, bytes, bytes.length));
  }
}

function readMemory(memory: NativeHandle, array: ArrayBufferView): void {
  for (const [offset, bytes] of piecesOf(array)) {
    check(native.cuda_tensor_read(memory.value, offset, bytes, bytes.length));
  }
}

/** Resolves when the device has done what it has been asked for so far. */
async function passed(memory: NativeHandle): Promise<void> {
  const handle = new BigUint64Array(1);
  check(native.cuda_tensor_mark(memory.value, handle, 1));
  using mark = new NativeHandle(handle[0]!, "The mark");
  const done = new BigUint64Array(1);
  for (;;) {
    check(native.cuda_mark_passed(mark.value, done, 1));
    if (done[0] !== 0n) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

/** Returns a tensor over memory that is on a device. */
function residentTensor<D extends Dtype>(
  dtype: D,
  shape: readonly number[],
  place: Place,
  memory: NativeHandle,
): Tensor<D> {
  const options: { [RESIDENT]: Resident } = { [RESIDENT]: { place, memory } };
  const nothing: unknown = new ARRAYS[dtype](0);
  return new Tensor<D>(nothing as TensorArrays[D], shape, options as object);
}

/** Returns a new tensor of any dtype on a CUDA device; what it holds is undefined. */
export function emptyTensorOf<D extends Dtype>(
  dtype: D,
  shape: readonly number[],
  place: Place,
): Tensor<D> {
  const size = shape.reduce((product, axis) => product * axis, 1);
  const bytes = size * ARRAYS[dtype].BYTES_PER_ELEMENT;
  return residentTensor(dtype, shape, place, createMemory(place, bytes));
}

/** Returns a new f32 tensor on a CUDA device, to be written by a kernel. */
export function emptyTensor(shape: readonly number[], place: Place): Tensor<"f32"> {
  const size = shape.reduce((product, axis) => product * axis, 1);
  return residentTensor("f32", shape, place, createMemory(place, 4 * size));
}

/** Copies a tensor from its device into an array of as many elements, when they have been computed. */
export function readTensor(tensor: Tensor, array: ArrayBufferView): void {
  readMemory(memoryOf(tensor)!, array);
}

/** Copies an array of as many elements into a tensor on its device. */
export function writeTensor(tensor: Tensor, array: ArrayBufferView): void {
  const memory = memoryOf(tensor);
  if (memory === undefined) throw tritterError("disposed", "Tensor is disposed");
  writeMemory(memory, array);
}

/** Returns the number by which the library knows a tensor's device memory; checks where that is. */
export function memoryHandle(tensor: Tensor, dtype: Dtype, place: Place, name: string): bigint {
  if (tensor.dtype !== dtype) {
    throw tritterError("invalid_type", `${name} must have dtype ${dtype}, got ${tensor.dtype}`);
  }
  checkPlace(tensor, place, name);
  const memory = memoryOf(tensor);
  if (memory === undefined) throw tritterError("disposed", "Tensor is disposed");
  return memory.value;
}

/** Nothing travels unasked: a tensor that is elsewhere is an error. */
function checkPlace(tensor: Tensor, place: Place, name: string): void {
  if (tensor.device === place) return;
  throw tritterError(
    "invalid_value",
    `${name} must be on ${place}, got a tensor on ${tensor.device}: to("${place}") copies it there`,
  );
}

/**
 * A typed array with a shape and a device; on the CPU it wraps the array without a copy.
 *
 * On CUDA it owns device memory: operations on it run there, in the order they were asked for and
 * without waiting, and it travels only when `to` or `data` is called. Declare it with `using`; a
 * forgotten one is freed after garbage collection, which knows nothing of the device's memory.
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
  readonly device: Place;
  /** Number of elements. */
  readonly size: number;

  #data: TensorArrays[D] | undefined;
  #memory: NativeHandle | undefined;

  static {
    memoryOf = (tensor) => tensor.#memory;
  }

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
    const given: { device?: Device | undefined; [RESIDENT]?: Resident } = checkOptions(
      options,
      "options",
    );
    this.dtype = dtypeOf(data) as D;
    this.shape = checkAnyShape(shape);
    this.size = this.shape.reduce((product, axis) => product * axis, 1);
    const resident = given[RESIDENT];
    if (resident !== undefined) {
      this.device = resident.place;
      this.#memory = resident.memory;
      return;
    }
    const array = checkArray(data, ARRAYS[this.dtype], "data", this.size) as TensorArrays[D];
    this.device = placeOf(given.device);
    if (this.device === "cpu") {
      this.#data = array;
    } else {
      this.#memory = createMemory(this.device, array.byteLength);
      writeMemory(this.#memory, array);
    }
  }

  /**
   * Wraps a typed array; on the CPU later changes of the array are changes of the tensor, on CUDA it
   * is copied.
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
   * Returns the tensor on another device: itself where it already is there, else a copy.
   *
   * @example
   * ```ts
   * import { Tensor } from "tritter-accel";
   *
   * const x = Tensor.from(new Float32Array(4), [4]);
   * console.log(x.to("cpu") === x); // true
   * ```
   */
  to(device: Device): Tensor<D> {
    this.#checkAlive();
    const place = namedPlace(device);
    if (place === this.device) return this;
    if (this.#memory === undefined || place === "cpu") {
      return new Tensor(this.data(), this.shape, { device: place });
    }
    const handle = new BigUint64Array(1);
    check(native.cuda_tensor_copy(this.#memory.value, cudaIndex(place), handle, 1));
    return residentTensor(this.dtype, this.shape, place, new NativeHandle(handle[0]!, "Tensor"));
  }

  /**
   * Returns the elements: on the CPU the wrapped array itself, not a copy.
   *
   * On CUDA it waits until the device has computed them and copies them.
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
    this.#checkAlive();
    if (this.#memory === undefined) return this.#data!;
    const array = new ARRAYS[this.dtype](this.size) as TensorArrays[D];
    readMemory(this.#memory, array);
    return array;
  }

  /**
   * Returns the elements as `data` does, but lets other work go on while the device computes them.
   *
   * @example
   * ```ts
   * import { Tensor } from "tritter-accel";
   *
   * using x = Tensor.from(Float32Array.of(1, 2), [2]);
   * console.log(await x.read()); // 1 2
   * ```
   */
  async read(): Promise<TensorArrays[D]> {
    this.#checkAlive();
    if (this.#memory !== undefined) await passed(this.#memory);
    return this.data();
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
    this.#checkAlive();
    const sizes = checkAnyShape(shape);
    const size = sizes.reduce((product, axis) => product * axis, 1);
    if (size !== this.size) {
      throw tritterError(
        "invalid_shape",
        `shape must have ${this.size} elements, got [${sizes.join(", ")}]`,
      );
    }
    if (this.#memory === undefined) return new Tensor(this.#data!, sizes, { device: "cpu" });
    const handle = new BigUint64Array(1);
    check(native.cuda_tensor_share(this.#memory.value, handle, 1));
    return residentTensor(this.dtype, sizes, this.device, new NativeHandle(handle[0]!, "Tensor"));
  }

  /** Lets go of the data; an array, or memory that a reshaped tensor shares, lives on for the others. */
  [Symbol.dispose](): void {
    this.#data = undefined;
    this.#memory?.dispose();
  }

  #checkAlive(): void {
    if (this.#data !== undefined || this.#memory?.disposed === false) return;
    throw tritterError("disposed", "Tensor is disposed");
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
  checkPlace(value, "cpu", name);
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
