// What several processes can do together, whatever carries it.

import { checkArray, checkChoice, checkCount, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { Tensor } from "../tensor.ts";

/** Arrays that travel between ranks. */
export type CommunicatorArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint8Array;

/** What travels between ranks: arrays, and over NCCL also tensors on the communicator's GPU. */
export type CommunicatorData = CommunicatorArray | Tensor;

/** How the values of all ranks become one; a mean needs floats. */
export type ReduceOperation = "sum" | "mean" | "max" | "min";

/** How values are reduced. */
export interface ReduceOptions {
  /** How the values of all ranks become one. Default: `"sum"`. */
  operation?: ReduceOperation | undefined;
}

/** How `allReduce` works. */
export interface AllReduceOptions extends ReduceOptions {
  /**
   * `"bf16"` sends float32 values as the nearest bf16, half as many bytes: they are added up in float32
   * (over NCCL as NCCL does it), and the sum or mean arrives as a bf16, too. Default: as they are.
   */
  wire?: "bf16" | undefined;
}

/** Who sends. */
export interface BroadcastOptions {
  /** The rank whose data all others get. Default: 0. */
  root?: number | undefined;
}

/**
 * Processes that work together, each with a number; made by `createCommunicator`.
 *
 * Every rank must make the same calls in the same order, with as many elements. Over MPI ranks that do
 * not are all told so: they throw `invalid_length` or `invalid_value`, have sent nothing, and can go on;
 * over NCCL nobody looks. A call that has not ended after `timeoutSeconds` throws `timeout`, and one
 * that fails `io`; nothing more can be done together then. The same ranks and values give the same
 * results, bit for bit.
 *
 * @example
 * ```ts
 * import { type Communicator, createCommunicator } from "tritter-accel";
 *
 * function meanLoss(communicator: Communicator, loss: number): number {
 *   const sum = Float64Array.of(loss);
 *   communicator.allReduce(sum, { operation: "mean" });
 *   return sum[0]!;
 * }
 * using alone = createCommunicator({ backend: "local" });
 * console.log(meanLoss(alone, 2.5)); // 2.5
 * ```
 */
export interface Communicator extends Disposable {
  /** What carries the data; `"local"` is a world of one. */
  readonly backend: "local" | "mpi" | "nccl";
  /** The number of this process, from 0. */
  readonly rank: number;
  /** How many processes there are. */
  readonly size: number;
  /** How long a call may take. */
  readonly timeoutSeconds: number;
  /** Returns when all ranks have come here. */
  barrier(): void;
  /** Everybody's data become those of the root, in place. */
  broadcast(data: CommunicatorData, options?: BroadcastOptions): void;
  /** Everybody's values become their sum, mean, maximum or minimum over all ranks, in place. */
  allReduce(data: CommunicatorData, options?: AllReduceOptions): void;
  /** Returns the data of all ranks, as many of each, in the order of the ranks. */
  allGather<D extends CommunicatorData>(data: D): D;
  /** Returns the arrays of all ranks, each as long as that rank's. */
  allGatherV<A extends CommunicatorArray>(data: A): A[];
  /** Returns part `rank` of `size` equal parts of the data, reduced over all ranks. */
  reduceScatter<D extends CommunicatorData>(
    data: D,
    options?: ReduceOptions,
  ): D;
  /**
   * Returns when what was asked for is done: calls with tensors return before that, and a look at such
   * a tensor would wait for a rank that has died without end.
   */
  wait(): void;
  /** Gives the others up after an error: disposing waits for nobody then. */
  abandon(): void;
  /** Leaves the others, when all of them do; doing so again does nothing. */
  [Symbol.dispose](): void;
}

/** The library's numbers of elements. */
const ELEMENTS = {
  Uint8Array: 0,
  Int32Array: 1,
  Float32Array: 2,
  Float64Array: 3,
} as const;

const CONSTRUCTORS = {
  Uint8Array,
  Int32Array,
  Float32Array,
  Float64Array,
} as const;

/** Bytes that one call can take: a length is 32 bits wide. */
const BYTES_MAX = 2 ** 32 - 1;

/** The default of `timeoutSeconds`. */
export const TIMEOUT_SECONDS = 300;

/** Checks an array that is to travel, and returns it with the number of its element. */
export function checkTravelling(
  data: unknown,
): { array: CommunicatorArray; element: number } {
  const tag = ArrayBuffer.isView(data) ? Object.prototype.toString.call(data).slice(8, -1) : "";
  if (!Object.hasOwn(ELEMENTS, tag)) {
    const given = data instanceof Tensor ? `a tensor on ${data.device}` : describe(data);
    throw tritterError(
      "invalid_type",
      `data must be a ${Object.keys(ELEMENTS).join(", ")}, got ${given}`,
    );
  }
  const name = tag as keyof typeof ELEMENTS;
  const array = checkArray(
    data,
    CONSTRUCTORS[name],
    "data",
  ) as CommunicatorArray;
  checkBytes(array.byteLength);
  return { array, element: ELEMENTS[name] };
}

/** Throws where a call would have to take more bytes than it can. */
export function checkBytes(bytes: number): void {
  if (bytes <= BYTES_MAX) return;
  throw tritterError(
    "invalid_length",
    `data must have at most ${BYTES_MAX} bytes, got ${bytes}`,
  );
}

/** An array of the same type. */
export function arrayLike<A extends CommunicatorArray>(
  array: A,
  length: number,
): A {
  checkBytes(length * array.BYTES_PER_ELEMENT);
  const name = Object.prototype.toString.call(array).slice(
    8,
    -1,
  ) as keyof typeof CONSTRUCTORS;
  return new CONSTRUCTORS[name](length) as A;
}

/** The bytes of an array, as a view. */
export function bytesOf(array: CommunicatorArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** The number of an operation of the library; the mean is its own over NCCL, else a scaled sum. */
export function operationNumber(operation: ReduceOperation): number {
  return { sum: 0, max: 1, min: 2, mean: 3 }[operation];
}

const OPERATIONS: readonly ReduceOperation[] = ["sum", "mean", "max", "min"];

/** Checks how an array is to be reduced. */
export function checkReduce(
  data: CommunicatorArray,
  options: AllReduceOptions | undefined,
): { operation: ReduceOperation; wire: "bf16" | undefined } {
  const given = checkOptions(options, "options");
  const operation = checkChoice(
    given.operation,
    OPERATIONS,
    "operation",
    "sum",
  );
  const wire = checkChoice(given.wire, ["bf16" as const], "wire", undefined);
  if (data instanceof Uint8Array) {
    throw tritterError(
      "invalid_type",
      "data must be numbers to be reduced, got a Uint8Array",
    );
  }
  if (data instanceof Int32Array && operation === "mean") {
    throw tritterError(
      "invalid_option",
      "operation must not be mean for an Int32Array",
    );
  }
  if (wire === undefined) return { operation, wire };
  if (!(data instanceof Float32Array) || !["sum", "mean"].includes(operation)) {
    throw tritterError(
      "invalid_option",
      `wire must be given for the sum or mean of a Float32Array only, got ${describe(data)}`,
    );
  }
  return { operation, wire };
}

/** Checks how a tensor is to be reduced; its type is what travels. */
export function checkTensorReduce(
  { dtype }: Tensor,
  options: AllReduceOptions | undefined,
): ReduceOperation {
  const given = checkOptions(options, "options");
  const operation = checkChoice(given.operation, OPERATIONS, "operation", "sum");
  if (given.wire !== undefined) {
    throw tritterError(
      "invalid_option",
      "wire must be given for a Float32Array only, got a tensor",
    );
  }
  if (dtype === "i32" && operation === "mean") {
    throw tritterError("invalid_option", "operation must not be mean for a tensor of i32");
  }
  return operation;
}

const METHODS = [
  "barrier",
  "broadcast",
  "allReduce",
  "allGather",
  "allGatherV",
  "abandon",
] as const;

/** Checks that a value is a communicator, of this library or of somebody else. */
export function checkCommunicator(value: Communicator, name: string): Communicator {
  const fits = typeof value === "object" && value !== null &&
    METHODS.every((method) => typeof value[method] === "function");
  if (!fits) {
    throw tritterError("invalid_type", `${name} must be a Communicator, got ${describe(value)}`);
  }
  const size = checkCount(value.size, `${name}.size`, { min: 1 });
  checkCount(value.rank, `${name}.rank`, { max: size - 1 });
  return value;
}

/** Checks who sends. */
export function checkRoot(
  options: BroadcastOptions | undefined,
  size: number,
): number {
  return checkCount(checkOptions(options, "options").root ?? 0, "root", {
    max: size - 1,
  });
}

/** The length of each rank's part. */
export function partLength(length: number, size: number): number {
  if (length % size === 0) return length / size;
  throw tritterError(
    "invalid_length",
    `data must have a multiple of ${size} elements, one part for each rank, got ${length}`,
  );
}
