// A world of one: what every program is before it is started several times.

import { fromBf16, toBf16 } from "../formats/half.ts";
import { Tensor } from "../tensor.ts";
import {
  type AllReduceOptions,
  type BroadcastOptions,
  checkReduce,
  checkRoot,
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

  constructor(timeoutSeconds: number) {
    this.timeoutSeconds = timeoutSeconds;
  }

  barrier(): void {}

  broadcast(data: CommunicatorData, options?: BroadcastOptions): void {
    checkRoot(options, 1);
    if (!(data instanceof Tensor)) checkTravelling(data);
  }

  allReduce(data: CommunicatorData, options?: AllReduceOptions): void {
    if (data instanceof Tensor) return;
    const { array } = checkTravelling(data);
    const { wire } = checkReduce(array, options);
    if (wire === "bf16") fromBf16(toBf16(array as Float32Array), { out: array as Float32Array });
  }

  allGather<D extends CommunicatorData>(data: D): D {
    if (data instanceof Tensor) return data;
    return checkTravelling(data).array.slice() as D;
  }

  allGatherV<A extends CommunicatorArray>(data: A): A[] {
    return [checkTravelling(data).array.slice() as A];
  }

  reduceScatter<D extends CommunicatorData>(data: D, options?: ReduceOptions): D {
    if (data instanceof Tensor) return data;
    checkReduce(checkTravelling(data).array, options);
    return data.slice() as D;
  }

  wait(): void {}

  abandon(): void {}

  [Symbol.dispose](): void {}
}
