// The mean of an array over all ranks, as it is or compressed.

import { checkCount, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { GradientCodec } from "../gradients/codec.ts";
import { open, seal } from "../gradients/container.ts";
import { ErrorFeedback } from "../gradients/error_feedback.ts";
import { check, native } from "../native/library.ts";
import type { HookState } from "../training/hooks.ts";
import { checkCommunicator, type Communicator } from "./communicator.ts";
import { gatherRankArrays, ownRankArrays } from "./rank_state.ts";

/** What travels between ranks. */
export interface ExchangeOptions {
  /** `"bf16"` sends the nearest bf16 of each value. Default: float32. */
  wire?: "bf16" | undefined;
  /**
   * Compresses what is sent: a codec, or an `ErrorFeedback` in mode `"plain"` around one, which
   * belongs to this exchange alone. Sketches of a `summable` codec are added up on their way, what
   * others make is gathered from all ranks. Default: nothing is compressed.
   */
  codec?: GradientCodec | ErrorFeedback | undefined;
  /** What the codec's random choices are made from; another number is added at every step. Default: 0. */
  seed?: number | undefined;
}

/** Elements that are averaged at a time where nothing is compressed. */
const BUCKET = 2 ** 22;

/** Averages arrays of one length, step by step. */
export class MeanExchange {
  readonly #communicator: Communicator;
  readonly #wire: "bf16" | undefined;
  readonly #codec: GradientCodec | ErrorFeedback | undefined;
  readonly #seed: number;
  #restored = new Float32Array(0);

  constructor(communicator: Communicator, options: ExchangeOptions) {
    const { wire, codec, seed = 0 } = checkOptions(options, "options");
    if (wire !== undefined && wire !== "bf16") {
      throw tritterError("invalid_option", `wire must be "bf16", got ${describe(wire)}`);
    }
    if (codec !== undefined) checkCodec(codec);
    if (wire !== undefined && codec !== undefined) {
      throw tritterError("invalid_option", "wire must not be given with a codec");
    }
    this.#communicator = checkCommunicator(communicator, "communicator");
    this.#wire = wire;
    this.#codec = codec;
    this.#seed = checkCount(seed, "seed");
  }

  /** Makes the values their mean over all ranks; returns how many bytes this rank handed over. */
  average(values: Float32Array, step: number): number {
    const codec = this.#codec;
    if (codec === undefined) return this.#averagePlain(values);
    const { size, rank } = this.#communicator;
    const { summable } = codec instanceof ErrorFeedback ? codec.codec : codec;
    // Sketches are added up only with one seed; otherwise errors should not be the same everywhere.
    const seed = this.#seed + (summable ? step : step * size + rank);
    const bytes = codec.compress(values, { seed });
    if (summable) codec.decompress(this.#sumOf(bytes), { out: values });
    else this.#averageGathered(codec, bytes, values);
    return bytes.length;
  }

  /** What the codec of every rank remembers; all ranks call it. */
  state(): HookState {
    const codec = this.#codec;
    if (!(codec instanceof ErrorFeedback)) return {};
    return { arrays: gatherRankArrays(this.#communicator, { ...codec.state() }) };
  }

  /** Takes over what `state` gave. */
  loadState({ arrays = {} }: HookState): void {
    const own = ownRankArrays(this.#communicator, arrays);
    if (this.#codec instanceof ErrorFeedback) this.#codec.restore(own);
  }

  #averagePlain(values: Float32Array): number {
    const wire = this.#wire;
    for (let start = 0; start < values.length; start += BUCKET) {
      const bucket = values.subarray(start, start + BUCKET);
      this.#communicator.allReduce(bucket, { operation: "mean", wire });
    }
    return values.length * (wire === "bf16" ? 2 : 4);
  }

  /** The mean of the sketches of all ranks, in a container like that of each. */
  #sumOf(bytes: Uint8Array): Uint8Array {
    const message = open(bytes);
    const samples = new Float32Array(message.payload.slice().buffer);
    this.#communicator.allReduce(samples, { operation: "mean" });
    message.payload.set(new Uint8Array(samples.buffer));
    return seal(bytes, message, message.payload.length);
  }

  #averageGathered(
    codec: GradientCodec | ErrorFeedback,
    bytes: Uint8Array,
    values: Float32Array,
  ): void {
    if (this.#restored.length !== values.length) this.#restored = new Float32Array(values.length);
    const restored = this.#restored;
    const all = this.#communicator.allGatherV(bytes);
    values.fill(0);
    // In the order of the ranks, so that all of them come to the same bits.
    for (const part of all) {
      codec.decompress(part, { out: restored });
      check(
        native.floats_add_scaled(values, values.length, restored, restored.length, 1 / all.length),
      );
    }
  }
}

function checkCodec(codec: unknown): void {
  if (codec instanceof GradientCodec) return;
  if (!(codec instanceof ErrorFeedback)) {
    throw tritterError(
      "invalid_type",
      `codec must be a GradientCodec or an ErrorFeedback, got ${describe(codec)}`,
    );
  }
  if (codec.mode === "plain") return;
  throw tritterError(
    "invalid_option",
    `codec must be an ErrorFeedback in mode "plain", got "${codec.mode}"`,
  );
}
