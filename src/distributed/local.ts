// A world of one: what every program is before it is started several times.

import { tritterError } from "../errors.ts";
import { fromBf16, toBf16 } from "../formats/half.ts";
import { Tensor } from "../tensor.ts";
import {
  type AllReduceOptions,
  type BroadcastOptions,
  checkReduce,
  checkRoot,
  checkTensorReduce,
  checkTravelling,
  type Communicator,
  type CommunicatorArray,
  type CommunicatorData,
  type ReduceOptions,
} from "./communicator.ts";

/** A communicator of one process, which needs no library. */
export class LocalCommunicator implements Communicator {
  readonly backend = "local";
  readonly rank = 0;
  readonly size = 1;
  readonly timeoutSeconds: number;
  #disposed = false;

  constructor(timeoutSeconds: number) {
    this.timeoutSeconds = timeoutSeconds;
  }

  barrier(): void {
    this.#checkAlive();
  }

  broadcast(data: CommunicatorData, options?: BroadcastOptions): void {
    this.#checkAlive();
    checkRoot(options, 1);
    if (!(data instanceof Tensor)) checkTravelling(data);
  }

  allReduce(data: CommunicatorData, options?: AllReduceOptions): void {
    this.#checkAlive();
    if (data instanceof Tensor) {
      checkTensorReduce(data, options);
      return;
    }
    const { array } = checkTravelling(data);
    const { wire } = checkReduce(array, options);
    if (wire === "bf16") fromBf16(toBf16(array as Float32Array), { out: array as Float32Array });
  }

  allGather<D extends CommunicatorData>(data: D): D {
    this.#checkAlive();
    return copyOf(data);
  }

  allGatherV<A extends CommunicatorArray>(data: A): A[] {
    this.#checkAlive();
    return [copyOf(data)];
  }

  reduceScatter<D extends CommunicatorData>(data: D, options?: ReduceOptions): D {
    this.#checkAlive();
    if (data instanceof Tensor) checkTensorReduce(data, options);
    else checkReduce(checkTravelling(data).array, options);
    return copyOf(data);
  }

  wait(): void {
    this.#checkAlive();
  }

  abandon(): void {}

  [Symbol.dispose](): void {
    this.#disposed = true;
  }

  /** What fails among several ranks fails here, too. */
  #checkAlive(): void {
    if (this.#disposed) throw tritterError("disposed", "The communicator has been disposed");
  }
}

/** What is returned belongs to the caller, who may dispose of it; a row, as it comes from several. */
function copyOf<D extends CommunicatorData>(data: D): D {
  if (!(data instanceof Tensor)) return checkTravelling(data).array.slice() as D;
  return Tensor.from(data.data(), [data.size], { device: data.device }) as D;
}
