// Data-parallel training: every rank computes with rows of its own, and all step with the mean.

import { checkCount, checkFlag, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { globalNorm, scaleInPlace } from "../training/clip.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import {
  checkOnCpu,
  type GradientExchange,
  type HookState,
  type TrainerStep,
} from "../training/hooks.ts";
import { BucketedMean } from "./bucketed_mean.ts";
import type { Communicator } from "./communicator.ts";
import { FlatArrays } from "./flat.ts";
import { type ExchangeOptions, MeanExchange } from "./mean_exchange.ts";

/** How gradients are averaged. */
export interface AverageGradientsOptions extends ExchangeOptions {
  /**
   * Bytes of gradients that travel at a time, as float32, where nothing is compressed or balanced: a
   * bucket is sent as soon as the backward pass has made all of it. Default: 4 MiB.
   */
  bucketBytes?: number | undefined;
  /**
   * Divides the gradients of every parameter by the root of their running mean square before they are
   * compressed, and multiplies them again behind. Codecs spend their bits on what is large; an
   * optimiser such as Adam makes as much of what is small. It helps where every parameter still gets
   * enough bits (about 10 times smaller), and harms where there are few. All ranks know the mean
   * squares: they are those of the averaged gradients. Default: false.
   */
  balance?: boolean | undefined;
}

/** The default of `bucketBytes`: enough for a network, little enough to begin early. */
const BUCKET_BYTES = 2 ** 22;

/** How much of a mean square is kept from step to step. */
const KEPT = 0.95;

/**
 * Averages the gradients of all ranks after every backward pass: what a `Trainer` with a communicator
 * does unless it is told otherwise.
 *
 * Predicted gradients are left alone. What is neither compressed nor balanced travels in buckets, the
 * gradients of the last parameters first, while the backward pass still makes the others (for models
 * that tell when a gradient is final, as `TrainableTransformer` does); the sums are the same bits
 * whenever that is. Tensors travel one by one, from device to device over NCCL, and take neither a
 * codec nor `balance`. With a codec all gradients travel as one list, in the order of the parameters,
 * after the pass. The metrics get `sentBytes`, what this rank handed over. With an `ErrorFeedback`, what every rank still
 * has to send goes into the checkpoints. Under Adam, error feedback with `balance` was best at 10 times
 * smaller (bench/distributed.md); for fewer bytes use `CompressedAdam` or `localSteps`.
 *
 * @example
 * ```ts
 * import { averageGradients, createCodec, createCommunicator, ErrorFeedback } from "tritter-accel";
 *
 * using communicator = createCommunicator();
 * const codec = new ErrorFeedback(createCodec("entropy", { ratio: 10 }));
 * const exchange = averageGradients(communicator, { codec, balance: true });
 * console.log(exchange.name); // average-gradients
 * // new Trainer({ communicator, exchange, ... })
 * ```
 */
export function averageGradients(
  communicator: Communicator,
  options?: AverageGradientsOptions,
): GradientExchange<TrainableData> {
  const { balance = false, bucketBytes, ...exchanged } = checkOptions(options, "options");
  const balances = checkFlag(balance, "balance");
  const exchange = new MeanExchange(communicator, exchanged);
  const { codec, wire } = exchanged;
  if (codec !== undefined || balances) {
    if (bucketBytes !== undefined) {
      throw tritterError("invalid_option", "bucketBytes must not be given with a codec or balance");
    }
    return new AverageGradients(exchange, balances ? new Balance() : undefined);
  }
  const bytes = checkCount(bucketBytes ?? BUCKET_BYTES, "bucketBytes", { min: 4, max: 2 ** 30 });
  const mean = new BucketedMean(communicator, { capacity: Math.floor(bytes / 4), wire });
  // Alone, the mean of one is what is there.
  return new AverageBuckets(mean, communicator.size === 1 && wire === undefined);
}

/** Averages gradients as they are, during the backward pass. */
class AverageBuckets implements GradientExchange<TrainableData> {
  readonly name = "average-gradients";
  readonly #mean: BucketedMean;
  readonly #isIdle: boolean;

  constructor(mean: BucketedMean, isIdle: boolean) {
    this.#mean = mean;
    this.#isIdle = isIdle;
  }

  /** A step that failed may have begun to send. */
  beforeStep(): void {
    this.#mean.drop();
  }

  onGradient(
    parameter: Parameter<TrainableData>,
    { parameters }: TrainerStep<TrainableData>,
  ): void {
    if (!this.#isIdle) this.#mean.add(parameter, parameters);
  }

  afterBackward({ predicted, parameters, metrics }: TrainerStep<TrainableData>): void {
    if (!predicted && !this.#isIdle) metrics.sentBytes = this.#mean.finish(parameters);
  }

  afterStep({ skipped, metrics }: TrainerStep<TrainableData>): void {
    if (skipped && !this.#isIdle) metrics.sentBytes = this.#mean.drop();
  }
}

/** Averages gradients that are compressed or balanced, after the backward pass. */
class AverageGradients implements GradientExchange<TrainableData> {
  readonly name = "average-gradients";
  readonly #exchange: MeanExchange;
  readonly #balance: Balance | undefined;
  #flat = new Float32Array(0);

  constructor(exchange: MeanExchange, balance: Balance | undefined) {
    this.#exchange = exchange;
    this.#balance = balance;
  }

  beforeStep({ parameters }: TrainerStep<TrainableData>): void {
    checkOnCpu(parameters, `averageGradients with ${this.#balance ? "balance" : "a codec"}`);
  }

  afterBackward({ predicted, parameters, metrics, step }: TrainerStep<TrainableData>): void {
    if (predicted) return;
    const gradients = new FlatArrays(
      parameters.map(({ gradient }) => gradient as Float32Array),
    );
    if (this.#flat.length !== gradients.length) this.#flat = new Float32Array(gradients.length);
    const flat = this.#flat;
    gradients.read(flat);
    const parts = gradients.cut(flat);
    this.#balance?.before(parts);
    metrics.sentBytes = this.#exchange.average(flat, step);
    this.#balance?.after(parts);
    gradients.write(flat);
  }

  state(): HookState {
    const { arrays = {} } = this.#exchange.state();
    return { arrays: { ...arrays, ...this.#balance?.state() } };
  }

  loadState({ arrays = {} }: HookState): void {
    const { squares, ...others } = arrays;
    if (squares !== undefined && !(squares instanceof Float32Array)) {
      throw tritterError("invalid_format", `Tensor hook.${this.name}.squares must be F32`);
    }
    this.#exchange.loadState({ arrays: others });
    this.#balance?.loadState(squares);
  }
}

/** Gives the gradients of all parameters about the same size, by what is known of those before. */
class Balance {
  /** Mean squares of the averaged gradients, one for each parameter. */
  #squares: Float32Array | undefined;
  #roots: number[] = [];

  /** Divides; the first gradients of all stay as they are. */
  before(parts: readonly Float32Array[]): void {
    const squares = this.#squares;
    if (squares !== undefined && squares.length !== parts.length) {
      throw tritterError(
        "invalid_length",
        `Tensor hook.average-gradients.squares must have ${parts.length} elements, got ${squares.length}`,
      );
    }
    // Where nothing ever came, there is nothing to balance.
    this.#roots = parts.map((_, index) => Math.sqrt(squares?.[index] || 1));
    parts.forEach((part, index) => scaleInPlace([part], 1 / this.#roots[index]!));
  }

  /** Multiplies the mean again, and learns from it. */
  after(parts: readonly Float32Array[]): void {
    const kept = this.#squares === undefined ? 0 : KEPT;
    const squares = this.#squares ??= new Float32Array(parts.length);
    parts.forEach((part, index) => {
      scaleInPlace([part], this.#roots[index]!);
      const square = part.length === 0 ? 0 : globalNorm(part) ** 2 / part.length;
      squares[index] = kept * squares[index]! + (1 - kept) * square;
    });
  }

  state(): Record<string, Float32Array> {
    return this.#squares === undefined ? {} : { squares: this.#squares };
  }

  loadState(squares: Float32Array | undefined): void {
    this.#squares = squares?.slice();
  }
}
