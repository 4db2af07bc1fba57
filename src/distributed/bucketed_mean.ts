// The mean of all gradients, part by part, while the backward pass still makes the others.

import { fromBf16, toBf16 } from "../formats/half.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import { Tensor } from "../tensor.ts";
import { checkAlike } from "./alike.ts";
import type { Communicator } from "./communicator.ts";
import { FlatArrays } from "./flat.ts";
import { advanceMeans, type EndMean, startMean } from "./started_mean.ts";

/** What travels at a time. */
export interface BucketOptions {
  /** Elements of a bucket. */
  readonly capacity: number;
  /** As what they travel. */
  readonly wire: "bf16" | undefined;
}

/** What is averaged: arrays in buckets, tensors one by one. */
type Gradient = Float32Array | Tensor<"f32">;

/** Gradients of a model, the last parameter's first. */
interface Layout {
  readonly parameters: readonly Parameter<TrainableData>[];
  readonly gradients: readonly Gradient[];
  /** Those of them that are arrays. */
  readonly flat: FlatArrays;
}

/**
 * Averages gradients over all ranks as soon as they are there.
 *
 * Their arrays lie one behind another, the last parameter's first, as a backward pass makes them, and
 * are cut into buckets. A bucket begins when all gradients up to its end are final, so what is added to
 * what, and in which order, is the same on all ranks and does not depend on when anything is told.
 */
export class BucketedMean {
  readonly #communicator: Communicator;
  readonly #wire: "bf16" | undefined;
  readonly #capacity: number;
  #layout: Layout | undefined;
  #bucket = new Float32Array(0);
  /** Of the step that is being made: what is final, how far without a gap, and what has begun. */
  readonly #final = new Set<Parameter<TrainableData>>();
  #whole = 0;
  #elements = 0;
  #tensorElements = 0;
  readonly #begun: EndMean[] = [];
  readonly #words: [Tensor<"u16">, Tensor<"f32">][] = [];

  /** Has begun nothing. */
  constructor(communicator: Communicator, { capacity, wire }: BucketOptions) {
    this.#communicator = communicator;
    this.#capacity = capacity;
    this.#wire = wire;
  }

  /** A gradient is final: begins what can begin now. */
  add(parameter: Parameter<TrainableData>, parameters: readonly Parameter<TrainableData>[]): void {
    // Looked at once a step.
    const layout = this.#final.size > 0 ? this.#layout : undefined;
    const { parameters: order, gradients, flat } = layout ?? this.#layOut(parameters);
    this.#final.add(parameter);
    for (; this.#final.has(order[this.#whole]!); this.#whole += 1) {
      const gradient = gradients[this.#whole]!;
      if (gradient instanceof Tensor) this.#average(gradient);
      else this.#elements += gradient.length;
    }
    while (this.#elements >= this.#start + this.#capacity) this.#begin(flat, this.#capacity);
    advanceMeans(this.#communicator);
  }

  /** All gradients are final: they become their means. Returns how many bytes this rank handed over. */
  finish(parameters: readonly Parameter<TrainableData>[]): number {
    for (const parameter of parameters) {
      if (!this.#final.has(parameter)) this.add(parameter, parameters);
    }
    const { flat } = this.#layOut(parameters);
    const rest = flat.length - this.#start;
    if (rest > 0) this.#begin(flat, rest);
    this.#widen(true);
    return this.#end((bucket, start) => flat.write(bucket, start));
  }

  /** The gradients of this step are of no use: what has begun is waited for and forgotten. */
  drop(): number {
    this.#widen(false);
    return this.#end(() => {});
  }

  /** Where the next bucket begins. */
  get #start(): number {
    return this.#begun.length * this.#capacity;
  }

  #layOut(parameters: readonly Parameter<TrainableData>[]): Layout {
    const known = this.#layout;
    const gradients = parameters.map(({ gradient }): Gradient => gradient).reverse();
    const isKnown = known?.gradients.length === gradients.length &&
      known.gradients.every((gradient, index) => gradient === gradients[index]);
    if (isKnown) return known;
    const flat = new FlatArrays(gradients.filter((gradient) => gradient instanceof Float32Array));
    checkAlike(
      this.#communicator,
      {
        "gradients": gradients.reduce((sum, one) => sum + lengthOf(one), 0),
        "of them in a bucket": this.#capacity,
        "bytes for each of them": this.#wire === undefined ? 4 : 2,
      },
      "All ranks must average their gradients in the same way",
    );
    this.#bucket = new Float32Array(Math.min(this.#capacity, flat.length));
    return this.#layout = { parameters: [...parameters].reverse(), gradients, flat };
  }

  #begin(flat: FlatArrays, length: number): void {
    const bucket = this.#bucket.subarray(0, length);
    flat.read(bucket, this.#start);
    this.#begun.push(startMean(this.#communicator, bucket, this.#wire));
  }

  /** What a device is asked for waits for what it was asked for before, and for nothing here. */
  #average(gradient: Tensor<"f32">): void {
    const words = this.#wire === undefined ? undefined : toBf16(gradient);
    this.#communicator.allReduce(words ?? gradient, { operation: "mean" });
    // What the backward pass still makes must not wait for them to come back.
    if (words !== undefined) this.#words.push([words, gradient]);
    this.#tensorElements += gradient.size;
  }

  /** Tensors that travelled as bf16 become what came back, or are forgotten. */
  #widen(isWanted: boolean): void {
    for (const [words, gradient] of this.#words) {
      if (isWanted) fromBf16(words, { out: gradient });
      words[Symbol.dispose]();
    }
    this.#words.length = 0;
  }

  #end(take: (bucket: Float32Array, start: number) => void): number {
    const { length = 0 } = this.#layout?.flat ?? {};
    let start = 0;
    for (const end of this.#begun) {
      const bucket = this.#bucket.subarray(0, Math.min(this.#capacity, length - start));
      end(bucket);
      take(bucket, start);
      start += bucket.length;
    }
    const sent = (start + this.#tensorElements) * (this.#wire === "bf16" ? 2 : 4);
    if (this.#tensorElements > 0) this.#communicator.wait();
    this.#final.clear();
    this.#begun.length =
      this.#whole =
      this.#elements =
      this.#tensorElements =
        0;
    return sent;
  }
}

function lengthOf(gradient: Gradient): number {
  return gradient instanceof Tensor ? gradient.size : gradient.length;
}
