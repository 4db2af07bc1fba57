// The processes that mpirun or mpiexec started, over Open MPI or MPICH.

import { tritterError } from "../errors.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import {
  type AllReduceOptions,
  arrayLike,
  type BroadcastOptions,
  bytesOf,
  checkReduce,
  checkRoot,
  checkTravelling,
  type Communicator,
  type CommunicatorArray,
  type CommunicatorData,
  operationNumber,
  partLength,
  type ReduceOperation,
  type ReduceOptions,
} from "./communicator.ts";

const flag = new Uint32Array(1);

/** Divides what was added up. */
function divide(sums: CommunicatorArray, size: number): void {
  if (sums instanceof Float32Array) {
    if (sums.length > 0) check(native.floats_scale(sums, sums.length, 1 / size, flag, 1));
  } else {
    for (let index = 0; index < sums.length; index += 1) sums[index]! /= size;
  }
}

/** MPI makes a mean of a sum. */
function mpiOperation(operation: ReduceOperation): number {
  return operationNumber(operation === "mean" ? "sum" : operation);
}

/** A communicator over MPI; there is one in a process, and MPI can be joined once. */
export class MpiCommunicator implements Communicator {
  readonly backend = "mpi";
  readonly rank: number;
  readonly size: number;
  readonly timeoutSeconds: number;

  readonly #world: NativeHandle;
  /** After a failure the others are anywhere, and leaving would wait for them. */
  #failed = false;

  constructor(library: string, timeoutSeconds: number) {
    const path = new TextEncoder().encode(library);
    const place = new Uint32Array(2);
    const handle = new BigUint64Array(1);
    check(native.mpi_open(path, path.length, timeoutSeconds, place, 2, handle, 1));
    this.#world = new NativeHandle(handle[0]!, "The communicator");
    this.rank = place[0]!;
    this.size = place[1]!;
    this.timeoutSeconds = timeoutSeconds;
  }

  barrier(): void {
    this.#run((world) => native.mpi_barrier(world));
  }

  broadcast(data: CommunicatorData, options?: BroadcastOptions): void {
    const bytes = bytesOf(checkTravelling(data).array);
    const root = checkRoot(options, this.size);
    this.#run((world) => native.mpi_broadcast(world, bytes, bytes.length, root));
  }

  allReduce(data: CommunicatorData, options?: AllReduceOptions): void {
    const { array, element } = checkTravelling(data);
    const { operation, wire } = checkReduce(array, options);
    const bytes = bytesOf(array);
    this.#run((world) =>
      wire === "bf16"
        ? native.mpi_all_reduce_bf16(world, array as Float32Array, array.length)
        : native.mpi_all_reduce(world, bytes, bytes.length, element, mpiOperation(operation))
    );
    if (operation === "mean") divide(array, this.size);
  }

  allGather<D extends CommunicatorData>(data: D): D {
    const { array } = checkTravelling(data);
    const out = arrayLike(array, array.length * this.size);
    const [from, to] = [bytesOf(array), bytesOf(out)];
    this.#run((world) => native.mpi_all_gather(world, from, from.length, to, to.length));
    return out as D;
  }

  allGatherV<A extends CommunicatorArray>(data: A): A[] {
    const { array } = checkTravelling(data);
    const from = bytesOf(array);
    const lengths = Uint32Array.from(
      this.allGather(Float64Array.of(from.length)),
    );
    const out = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
    this.#run((world) =>
      native.mpi_all_gather_v(
        ...[world, from, from.length, lengths, lengths.length, out, out.length] as const,
      )
    );
    let start = 0;
    return Array.from(lengths, (length) => {
      const part = arrayLike(array, length / array.BYTES_PER_ELEMENT);
      bytesOf(part).set(out.subarray(start, start + length));
      start += length;
      return part as A;
    });
  }

  reduceScatter<D extends CommunicatorData>(data: D, options?: ReduceOptions): D {
    const { array, element } = checkTravelling(data);
    const { operation } = checkReduce(array, options);
    const out = arrayLike(array, partLength(array.length, this.size));
    const [from, to] = [bytesOf(array), bytesOf(out)];
    const number = mpiOperation(operation);
    this.#run((world) =>
      native.mpi_reduce_scatter(world, from, from.length, to, to.length, element, number)
    );
    if (operation === "mean") divide(out, this.size);
    return out as D;
  }

  /** Everything is done when a call returns. */
  wait(): void {}

  abandon(): void {
    this.#failed = true;
  }

  [Symbol.dispose](): void {
    if (this.#world.disposed) return;
    try {
      if (!this.#failed) check(native.mpi_finish(this.#world.value));
    } finally {
      this.#world.dispose();
    }
  }

  #run(call: (world: bigint) => number): void {
    const status = call(this.#world.value);
    if (status === 0) return;
    this.#failed = true;
    check(status);
    throw tritterError("internal", "The native library reports no failure");
  }
}
