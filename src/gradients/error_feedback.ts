// What a codec loses in one step is not lost: it is sent in a later one.

import { checkArray, checkChoice, checkNumber, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { type CompressOptions, type DecompressOptions, GradientCodec } from "./codec.ts";
import { checkAllFinite } from "./stats.ts";

const MODES = ["plain", "ef21"] as const;

/** How error feedback works. */
export interface ErrorFeedbackOptions {
  /**
   * `"plain"` (default) adds what was lost to the next gradients; `"ef21"` sends the compressed
   * difference to an estimate that sender and receiver keep alike.
   */
  mode?: "plain" | "ef21" | undefined;
  /**
   * From 0, below 1: what is sent is the momentum m = momentum m + (1 - momentum) gradients, as in
   * 1-bit Adam and EF21-SGDM. Default: 0, the gradients themselves.
   */
  momentum?: number | undefined;
}

/** What an `ErrorFeedback` remembers, as copies; what has no entry is zeros. */
export interface ErrorFeedbackState {
  /** What was lost and is still to be sent, in mode `"plain"`. */
  residual?: Float32Array | undefined;
  /** What the receiver knows, in mode `"ef21"`. */
  estimate?: Float32Array | undefined;
  /** The momentum of the gradients. */
  momentum?: Float32Array | undefined;
  /** The sum of what was decompressed, in mode `"ef21"`. */
  received?: Float32Array | undefined;
  /** What the codec remembers, see `GradientCodec.state`. */
  warmStart?: Float32Array | undefined;
}

const NAMES = ["residual", "estimate", "momentum", "received"] as const;

/** out = alpha a + beta b */
function combine(
  a: Float32Array,
  alpha: number,
  b: Float32Array,
  beta: number,
  out: Float32Array,
): void {
  check(native.gradients_blend(a, a.length, alpha, b, b.length, beta, out, out.length));
}

/**
 * Wraps a codec and keeps what it loses.
 *
 * With biased codecs (`"sign"`, `"topk"`, `"lowrank"`) training then converges as if nothing were
 * compressed. It wants a codec that is a contraction, whose error is smaller than what it is given:
 * an unbiased `"projection"` is not, and the residual grows without bound; create that with
 * `{ gain: "contraction" }`. Under Adam, feed back the momentum (`momentum: 0.9`) and freeze the
 * variance, as 1-bit Adam does: residuals in its variance make training worse. Sources:
 * arXiv:1901.09847 (plain), 2106.05203 (EF21), 2305.15155 (EF21 with momentum), 2102.02888
 * (1-bit Adam).
 *
 * @example
 * ```ts
 * import { createCodec, ErrorFeedback } from "tritter-accel";
 *
 * const feedback = new ErrorFeedback(createCodec("sign"));
 * const gradients = Float32Array.of(1, 0.1, -0.1, -1);
 * const sum = new Float32Array(4);
 * for (let step = 0; step < 100; step++) {
 *   const restored = feedback.decompress(feedback.compress(gradients));
 *   restored.forEach((value, index) => sum[index]! += value / 100);
 * }
 * console.log(sum); // about 1 0.1 -0.1 -1, which one sign cannot say
 * ```
 */
export class ErrorFeedback {
  /** The codec that compresses. */
  readonly codec: GradientCodec;
  /** What is compressed: gradients with what was lost, or the difference to an estimate. */
  readonly mode: "plain" | "ef21";
  /** Share of the momentum that stays from step to step. */
  readonly momentum: number;

  /** The residual or the estimate, the momentum, and what was received. */
  #memory: Float32Array<ArrayBuffer> | undefined;
  #velocity: Float32Array<ArrayBuffer> | undefined;
  #received: Float32Array<ArrayBuffer> | undefined;
  /** Two lists of the same length, for the work of a call. */
  #scratch: [Float32Array<ArrayBuffer>, Float32Array<ArrayBuffer>] | undefined;

  /**
   * Wraps a codec; every worker has its own.
   *
   * @example
   * ```ts
   * import { createCodec, ErrorFeedback } from "tritter-accel";
   *
   * const codec = createCodec("rotated", { bits: 1 });
   * console.log(new ErrorFeedback(codec, { mode: "ef21", momentum: 0.9 }).mode); // ef21
   * ```
   */
  constructor(codec: GradientCodec, options?: ErrorFeedbackOptions) {
    if (!(codec instanceof GradientCodec)) {
      throw tritterError("invalid_type", `codec must be a GradientCodec, got ${describe(codec)}`);
    }
    const { mode, momentum = 0 } = checkOptions(options, "options");
    this.codec = codec;
    this.mode = checkChoice(mode, MODES, "mode", "plain");
    this.momentum = checkNumber(momentum, "momentum", { min: 0, max: 1 - 2 ** -24 });
  }

  /**
   * Compresses gradients with what earlier calls lost.
   *
   * Every call takes as many gradients as the first one. An error leaves everything as it was.
   * Throws as `GradientCodec.compress` does.
   *
   * @example
   * ```ts
   * import { createCodec, ErrorFeedback } from "tritter-accel";
   *
   * const feedback = new ErrorFeedback(createCodec("ternary"));
   * const bytes = feedback.compress(new Float32Array(1000).fill(0.5), { seed: 1 });
   * console.log(bytes.length < 300); // true
   * ```
   */
  compress(gradients: Float32Array, options?: CompressOptions): Uint8Array {
    checkArray(gradients, Float32Array, "gradients", this.#memory?.length);
    const count = gradients.length;
    const isDifference = this.mode === "ef21";
    const memory = this.#memory ?? new Float32Array(count);
    const velocity = this.#velocity ?? new Float32Array(this.momentum > 0 ? count : 0);
    const scratch = this.#scratch ?? [new Float32Array(count), new Float32Array(count)];
    let input = gradients;
    const [work, other] = scratch;
    if (this.momentum > 0) {
      combine(velocity, this.momentum, gradients, 1 - this.momentum, other);
      input = other;
    }
    combine(input, 1, memory, isDifference ? -1 : 1, work);
    const bytes = this.codec.compress(work, options);
    if (this.momentum > 0) velocity.set(other);
    this.codec.decompress(bytes, { out: other });
    if (isDifference) combine(memory, 1, other, 1, memory);
    else combine(work, 1, other, -1, memory);
    this.#memory = memory;
    this.#scratch = scratch;
    if (this.momentum > 0) this.#velocity = velocity;
    return bytes;
  }

  /**
   * Returns what the receiver is to use: in mode `"plain"` what the bytes stand for, in mode `"ef21"`
   * the sum of that over all calls.
   *
   * In mode `"ef21"` the receiver has one object for each sender, and decompresses everything that
   * it sent, in order.
   *
   * @example
   * ```ts
   * import { createCodec, ErrorFeedback } from "tritter-accel";
   *
   * const sender = new ErrorFeedback(createCodec("sign"), { mode: "ef21" });
   * const receiver = new ErrorFeedback(createCodec("sign"), { mode: "ef21" });
   * const gradients = Float32Array.of(1, 0.5, -0.5, -1);
   * let estimate = new Float32Array(4);
   * for (let step = 0; step < 20; step++) estimate = receiver.decompress(sender.compress(gradients));
   * console.log(estimate); // about 1 0.5 -0.5 -1
   * ```
   */
  decompress(bytes: Uint8Array, options?: DecompressOptions): Float32Array<ArrayBuffer> {
    const { out } = checkOptions(options, "options");
    const restored = this.codec.decompress(bytes, { out }) as Float32Array<ArrayBuffer>;
    if (this.mode === "plain") return restored;
    this.#received ??= new Float32Array(restored.length);
    if (this.#received.length !== restored.length) {
      throw tritterError(
        "invalid_length",
        `bytes must stand for ${this.#received.length} gradients, got ${restored.length}`,
      );
    }
    combine(this.#received, 1, restored, 1, this.#received);
    restored.set(this.#received);
    return restored;
  }

  /**
   * Forgets everything, that of the codec as well.
   *
   * @example
   * ```ts
   * import { createCodec, ErrorFeedback } from "tritter-accel";
   *
   * const feedback = new ErrorFeedback(createCodec("sign"));
   * feedback.compress(new Float32Array(10).fill(1));
   * feedback.reset();
   * console.log(feedback.state().residual); // undefined
   * ```
   */
  reset(): void {
    this.#memory =
      this.#velocity =
      this.#received =
      this.#scratch =
        undefined;
    this.codec.reset();
  }

  /**
   * Returns copies of everything that it remembers, for a checkpoint.
   *
   * The warm start of a `"lowrank"` codec is not among it.
   *
   * @example
   * ```ts
   * import { createCodec, ErrorFeedback } from "tritter-accel";
   *
   * const feedback = new ErrorFeedback(createCodec("sign"));
   * feedback.compress(Float32Array.of(1, 2, 3));
   * console.log(feedback.state().residual); // -1 0 1: they were sent as 2 2 2
   * ```
   */
  state(): ErrorFeedbackState {
    const state: ErrorFeedbackState = {};
    const memory = this.#memory?.slice();
    if (this.mode === "plain") state.residual = memory;
    else state.estimate = memory;
    state.momentum = this.#velocity?.slice();
    state.received = this.#received?.slice();
    return { ...state, ...this.codec.state() };
  }

  /**
   * Takes over copies of what `state` returned.
   *
   * Throws `invalid_length` where lengths differ, `invalid_value` for values that are not finite,
   * and `invalid_option` for parts that this mode does not have; nothing has changed then.
   *
   * @example
   * ```ts
   * import { createCodec, ErrorFeedback } from "tritter-accel";
   *
   * const feedback = new ErrorFeedback(createCodec("sign"));
   * feedback.restore({ residual: Float32Array.of(-1, 0, 1) });
   * console.log(feedback.state().residual); // -1 0 1
   * ```
   */
  restore(state: ErrorFeedbackState): void {
    if (state === undefined) {
      throw tritterError("invalid_type", "state must be an object, got undefined");
    }
    checkOptions(state, "state");
    const { residual, estimate, momentum, received, warmStart } = state;
    this.codec.checkState({ warmStart });
    const foreign = this.mode === "plain" ? { estimate, received } : { residual };
    for (const [name, value] of Object.entries(foreign)) {
      if (value === undefined) continue;
      throw tritterError("invalid_option", `state must have no ${name} in mode "${this.mode}"`);
    }
    if (this.momentum === 0 && momentum !== undefined) {
      throw tritterError("invalid_option", "state must have no momentum where there is none");
    }
    const parts = [residual, estimate, momentum, received];
    let length: number | undefined;
    for (const [index, part] of parts.entries()) {
      if (part === undefined) continue;
      const name = NAMES[index]!;
      length = checkArray(part, Float32Array, name, length).length;
      if (length === 0) throw tritterError("invalid_length", `${name} must not be empty`);
      checkAllFinite(part, name);
    }
    const memory = residual ?? estimate;
    const count = length ?? 0;
    this.#memory = memory?.slice() ?? (momentum && new Float32Array(count));
    this.#velocity = momentum?.slice() ??
      (memory && this.momentum > 0 ? new Float32Array(count) : undefined);
    this.#received = received?.slice();
    this.#scratch = undefined;
    this.codec.restore({ warmStart });
  }
}
