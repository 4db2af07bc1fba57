// One GPU for each process, over NCCL.

import { checkArray } from "../checks.ts";
import { cudaIndex, type Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import { fromBf16, toBf16 } from "../formats/half.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import { type Dtype, emptyTensorOf, memoryHandle, Tensor } from "../tensor.ts";
import {
  type AllReduceOptions,
  arrayLike,
  type BroadcastOptions,
  bytesOf,
  checkReduce,
  checkRoot,
  checkTensorReduce,
  checkTravelling,
  type Communicator,
  type CommunicatorArray,
  type CommunicatorData,
  operationNumber,
  partLength,
  type ReduceOptions,
} from "./communicator.ts";
import type { EndMean, MeanStarter } from "./started_mean.ts";

/** Bytes of what ranks find each other by. */
const ID_BYTES = 128;

/** NCCL's element for tensors that are reduced; the bits of a bf16 are a u16 here. */
const ELEMENTS: Partial<Record<Dtype, number>> = { i32: 1, f32: 2, f64: 3, u16: 4 };

/** Where NCCL is, what it is to work on, and who is who. */
export interface NcclPlan {
  readonly library: string;
  readonly place: Place;
  readonly rank: number;
  readonly size: number;
  readonly timeoutSeconds: number;
  /** Disposed with the communicator: how the ranks met. */
  readonly bootstrap?: Communicator | undefined;
}

/** Makes an id; with an address every rank makes the same one. */
export function makeUniqueId(library: string, address = ""): Uint8Array<ArrayBuffer> {
  const encoder = new TextEncoder();
  const [path, where] = [encoder.encode(library), encoder.encode(address)];
  const id = new Uint8Array(ID_BYTES);
  check(native.nccl_unique_id(path, path.length, where, where.length, id, id.length));
  return id;
}

/**
 * A communicator over NCCL. Arrays are copied to the GPU and back; tensors stay there, and a call with
 * one returns at once: `wait` waits for the result. The device goes on with other tensors meanwhile.
 */
export class NcclCommunicator implements Communicator, MeanStarter {
  readonly backend = "nccl";
  readonly rank: number;
  readonly size: number;
  readonly timeoutSeconds: number;

  readonly #place: Place;
  readonly #group: NativeHandle;
  readonly #bootstrap: Communicator | undefined;
  #failed = false;

  constructor(plan: NcclPlan, id: Uint8Array) {
    const { library, place, rank, size, timeoutSeconds, bootstrap } = plan;
    const path = new TextEncoder().encode(library);
    const options = Float64Array.of(cudaIndex(place), rank, size, timeoutSeconds);
    const handle = new BigUint64Array(1);
    check(native.nccl_open(
      ...[path, path.length, checkArray(id, Uint8Array, "id", ID_BYTES), ID_BYTES] as const,
      ...[options, options.length, handle, 1] as const,
    ));
    this.#group = new NativeHandle(handle[0]!, "The communicator");
    this.#place = place;
    this.#bootstrap = bootstrap;
    this.rank = rank;
    this.size = size;
    this.timeoutSeconds = timeoutSeconds;
  }

  /** Waits until the GPU has done what it was asked for; throws `timeout` as all calls do. */
  wait(): void {
    this.#run((group) => native.nccl_wait(group));
  }

  barrier(): void {
    this.allReduce(new Float32Array(1));
  }

  broadcast(data: CommunicatorData, options?: BroadcastOptions): void {
    const root = checkRoot(options, this.size);
    const send = (tensor: Tensor) =>
      this.#run((group) => native.nccl_broadcast(group, this.#memory(tensor), root));
    if (data instanceof Tensor) send(data);
    else this.#inPlace(checkTravelling(data).array, send);
  }

  allReduce(data: CommunicatorData, options?: AllReduceOptions): void {
    const reduce = (tensor: Tensor, operation: number) => {
      const element = elementOf(tensor);
      const memory = this.#memory(tensor);
      this.#run((group) => native.nccl_all_reduce(group, memory, element, operation));
    };
    if (data instanceof Tensor) {
      reduce(data, operationNumber(checkTensorReduce(data, options)));
      return;
    }
    const { array } = checkTravelling(data);
    const { operation, wire } = checkReduce(array, options);
    const number = operationNumber(operation);
    if (wire === undefined) {
      this.#inPlace(array, (tensor) => reduce(tensor, number));
      return;
    }
    const words = toBf16(array as Float32Array);
    this.#inPlace(words, (tensor) => reduce(tensor, number));
    fromBf16(words, { out: array as Float32Array });
  }

  startMean(values: Float32Array, wire: "bf16" | undefined): EndMean {
    const { array } = checkTravelling(values);
    if (array.length === 0) return () => {};
    const tensor = this.#upload(wire === "bf16" ? toBf16(values) : array);
    this.allReduce(tensor, { operation: "mean" });
    return (out) => {
      using mean = tensor;
      this.wait();
      if (wire === "bf16") fromBf16(mean.data() as Uint16Array, { out });
      else out.set(mean.data() as Float32Array);
    };
  }

  /** The device goes on by itself. */
  advanceMeans(): void {}

  allGather<D extends CommunicatorData>(data: D): D {
    if (data instanceof Tensor) return this.#gather(data) as D;
    const { array } = checkTravelling(data);
    if (array.length === 0) return arrayLike(array, 0) as D;
    using tensor = this.#upload(array);
    using gathered = this.#gather(tensor);
    this.wait();
    return gathered.data() as D;
  }

  #gather(tensor: Tensor): Tensor {
    const shape = [this.size * tensor.size];
    const out = emptyTensorOf(tensor.dtype, shape, this.#place);
    const [from, to] = [this.#memory(tensor), this.#memory(out)];
    this.#run((group) => native.nccl_all_gather(group, from, to));
    return out;
  }

  allGatherV<A extends CommunicatorArray>(data: A): A[] {
    const { array } = checkTravelling(data);
    const lengths = this.allGather(Float64Array.of(array.length));
    const longest = Math.max(...lengths);
    const padded = arrayLike(array, longest);
    bytesOf(padded).set(bytesOf(array));
    const all = this.allGather(padded);
    return Array.from(
      lengths,
      (length, rank) => all.slice(rank * longest, rank * longest + length) as A,
    );
  }

  reduceScatter<D extends CommunicatorData>(data: D, options?: ReduceOptions): D {
    const reduce = (tensor: Tensor, operation: number): Tensor => {
      const out = emptyTensorOf(tensor.dtype, [partLength(tensor.size, this.size)], this.#place);
      const [from, to, element] = [this.#memory(tensor), this.#memory(out), elementOf(tensor)];
      this.#run((group) => native.nccl_reduce_scatter(group, from, to, element, operation));
      return out;
    };
    if (data instanceof Tensor) {
      return reduce(data, operationNumber(checkTensorReduce(data, options))) as D;
    }
    const { array } = checkTravelling(data);
    const { operation } = checkReduce(array, options);
    if (array.length === 0) return arrayLike(array, 0) as D;
    using tensor = this.#upload(array);
    using out = reduce(tensor, operationNumber(operation));
    this.wait();
    return out.data() as D;
  }

  abandon(): void {
    this.#failed = true;
  }

  [Symbol.dispose](): void {
    if (this.#group.disposed) return;
    try {
      if (!this.#failed) check(native.nccl_finish(this.#group.value));
    } finally {
      this.#group.dispose();
      this.#bootstrap?.[Symbol.dispose]();
    }
  }

  #memory(tensor: Tensor): bigint {
    return memoryHandle(tensor, tensor.dtype, this.#place, "data");
  }

  #upload(array: CommunicatorArray | Uint16Array): Tensor {
    return Tensor.from(array as Float32Array, [array.length], { device: this.#place });
  }

  /** Does something with a copy on the GPU, and copies the result back. */
  #inPlace(array: CommunicatorArray | Uint16Array, run: (tensor: Tensor) => void): void {
    if (array.length === 0) return;
    using tensor = this.#upload(array);
    run(tensor);
    this.wait();
    (array as Float32Array).set(tensor.data() as Float32Array);
  }

  #run(call: (group: bigint) => number): void {
    const status = call(this.#group.value);
    if (status === 0) return;
    this.#failed = true;
    check(status);
  }
}

function elementOf({ dtype }: Tensor): number {
  const element = ELEMENTS[dtype];
  if (element !== undefined) return element;
  throw tritterError(
    "invalid_type",
    `data must have a dtype of ${Object.keys(ELEMENTS).join(", ")}, got ${dtype}`,
  );
}
