// The processes that mpirun or mpiexec started, over Open MPI or MPICH.

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
import type { EndMean, MeanStarter } from "./started_mean.ts";

/** The library's number for float32 whose sum travels as bf16. */
const HALF = 4;

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

/** A communicator over MPI, which a process leaves for good with its last one. */
export class MpiCommunicator implements Communicator, MeanStarter {
  readonly backend = "mpi";
  readonly rank: number;
  readonly size: number;
  readonly timeoutSeconds: number;

  readonly #world: NativeHandle;
  #abandoned = false;

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
      native.mpi_all_reduce(
        ...[world, bytes, bytes.length] as const,
        wire === "bf16" ? HALF : element,
        mpiOperation(operation),
      )
    );
    if (operation === "mean") divide(array, this.size);
  }

  startMean(values: Float32Array, wire: "bf16" | undefined): EndMean {
    const { array, element } = checkTravelling(values);
    const bytes = bytesOf(array);
    const ticket = new Uint32Array(1);
    const number = wire === "bf16" ? HALF : element;
    const sum = operationNumber("sum");
    this.#run((world) =>
      native.mpi_all_reduce_start(world, bytes, bytes.length, number, sum, ticket, 1)
    );
    return (out) => {
      const target = bytesOf(out);
      this.#run((world) => native.mpi_all_reduce_end(world, ticket[0]!, target, target.length));
      divide(out, this.size);
    };
  }

  advanceMeans(): void {
    this.#run((world) => native.mpi_all_reduce_advance(world));
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
    this.#abandoned = true;
  }

  [Symbol.dispose](): void {
    if (this.#world.disposed) return;
    try {
      // After a failure the library waits for nobody.
      if (!this.#abandoned) check(native.mpi_finish(this.#world.value));
    } finally {
      this.#world.dispose();
    }
  }

  #run(call: (world: bigint) => number): void {
    check(call(this.#world.value));
  }
}
