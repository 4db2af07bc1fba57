// The numbers that the library knows vectors by, and what travels between the CPU and devices.

import { describe } from "../checks.ts";
import { cudaIndex, type Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import * as calls from "./calls.ts";
import type { Rows } from "./formats.ts";

/** Vectors, as far as this file knows them. */
export interface Located extends Rows {
  /** Where they are. */
  readonly device: Place;
}

/** What only the class of the vectors can do: it reads their private fields. */
export interface Access {
  /** Returns the handle; throws `disposed` after disposal. */
  handle: (vectors: Located) => bigint;
  /** Tells vectors by their private fields: the prototype may be anybody's. */
  isVectors: (value: unknown) => boolean;
  /** Does what `writeHandlesOf` does. */
  writeHandles: typeof writeHandlesOf;
}

let readHandle: Access["handle"];
let isVectors: Access["isVectors"];
let writeHandles: Access["writeHandles"];

/** Called by the class, once. */
export function grantAccess(granted: Access): void {
  readHandle = granted.handle;
  isVectors = granted.isVectors;
  writeHandles = granted.writeHandles;
}

// Apart from what asks, which is short enough to be compiled into its callers so.
function refuseDevice({ device }: Located): never {
  throw tritterError(
    "unsupported",
    `This operation has no CUDA kernels: to("cpu") copies the vectors, which are on ${device}`,
  );
}

function refusePlace({ device }: Located, place: Place, name: string): never {
  throw tritterError(
    "invalid_value",
    `${name} must be on ${place}, got vectors on ${device}: to("${place}") copies them there`,
  );
}

/**
 * The number that the library knows vectors on the CPU by; throws `unsupported` for others, as what
 * asks for it has no CUDA kernels.
 */
export function handleOf(vectors: Located): bigint {
  return vectors.device === "cpu" ? readHandle(vectors) : refuseDevice(vectors);
}

/** The number of vectors that must be somewhere: nothing travels unasked. */
export function handleAt(vectors: Located, place: Place, name: string): bigint {
  return vectors.device === place ? readHandle(vectors) : refusePlace(vectors, place, name);
}

/**
 * Writes the handles of `count` single vectors, two halves each, and returns how many came before the
 * first value that is none, that has other dimensions, is elsewhere, or that has been disposed.
 *
 * Halves, as storing a bigint takes Bun longer than all the rest.
 */
export function writeHandlesOf(
  list: readonly unknown[],
  count: number,
  like: { readonly dim: number; readonly device: Place },
  halves: Uint32Array,
): number {
  return writeHandles(list, count, like, halves);
}

/** Checks that a value is a hypervector or a batch, of as many dimensions as asked for. */
export function checkVectors<T extends Located>(value: T, name: string, dim?: number): T {
  if (!isVectors(value)) {
    throw tritterError(
      "invalid_type",
      `${name} must be a Hypervector or a HypervectorBatch, got ${describe(value)}`,
    );
  }
  if (dim !== undefined && value.dim !== dim) {
    throw tritterError("invalid_shape", `${name} must have ${dim} dimensions, got ${value.dim}`);
  }
  return value;
}

/** Copies rows to vectors of the same dimensions on the same device, and returns the status. */
export function copyRows(
  [source, row]: readonly [Located, number],
  [target, to]: readonly [Located, number],
  rows: number,
): number {
  const { device } = source;
  const from = readHandle(source);
  return calls.copy(device, from, row, handleAt(target, device, "vectors"), to, rows);
}

/** Allocates vectors of zeros, and writes their handle to the first element. */
export function createVectors(place: Place, { count, dim }: Rows, handle: BigUint64Array): void {
  check(
    place === "cpu"
      ? native.vectors_create(count, dim, handle, 1)
      : native.cuda_vectors_create(cudaIndex(place), count, dim, handle, 1),
  );
}

/** Vectors of zeros on the CPU, of the shape of others, for the length of a call. */
function hostLike(vectors: Rows): NativeHandle {
  const handle = new BigUint64Array(1);
  createVectors("cpu", vectors, handle);
  return new NativeHandle(handle[0]!, "The copy");
}

/** Reads vectors by a handle that the CPU knows; those on a device are copied for that. */
export function readOnHost<T>(vectors: Located, read: (handle: bigint) => T): T {
  const handle = readHandle(vectors);
  if (vectors.device === "cpu") return read(handle);
  using host = hostLike(vectors);
  check(native.cuda_vectors_read(handle, host.value));
  return read(host.value);
}

/** Writes vectors by a handle that the CPU knows; what is not written is 0 where they are on a device. */
export function writeOnHost(vectors: Located, write: (handle: bigint) => void): void {
  const handle = readHandle(vectors);
  if (vectors.device === "cpu") return write(handle);
  using host = hostLike(vectors);
  write(host.value);
  check(native.cuda_vectors_write(handle, host.value));
}

/** Copies all vectors to others of the same shape, of which one side is on a device. */
export function copyBetween(source: Located, target: Located): void {
  const from = readHandle(source);
  const to = readHandle(target);
  if (source.device === "cpu") check(native.cuda_vectors_write(to, from));
  else if (target.device === "cpu") check(native.cuda_vectors_read(from, to));
  else check(native.cuda_vectors_copy(from, 0, to, 0, source.count));
}
