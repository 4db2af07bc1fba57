// What a codec loses in one step is not lost: it is sent in a later one.

import { checkArray, checkChoice, checkNumber, checkOptions, describe } from "../checks.ts";
import type { Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { emptyTensor, floatsOf, memoryHandle, Tensor } from "../tensor.ts";
import { type CompressOptions, GradientCodec } from "./codec.ts";
import { checkAllFinite } from "./stats.ts";
import type { DecompressOptions, DecompressTensorOptions } from "./values.ts";

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

/** A list where it was computed: an array, or a tensor on a CUDA device. */
type List = Float32Array<ArrayBuffer> | Tensor<"f32">;

const lengthOf = (list: Float32Array | Tensor) => list instanceof Tensor ? list.size : list.length;
const placeOf = (list: Float32Array | Tensor): Place =>
  list instanceof Tensor ? list.device : "cpu";
const handleOf = (tensor: Tensor) => memoryHandle(tensor, "f32", tensor.device, "gradients");

/** A tensor on the CPU as its array. */
const listOf = (list: List): List =>
  list instanceof Tensor && list.device === "cpu" ? list.data() as Float32Array<ArrayBuffer> : list;

function dispose(list: List | undefined): void {
  if (list instanceof Tensor) list[Symbol.dispose]();
}

/** out = alpha a + beta b, of lists that are in one place */
function combine(
  a: Float32Array | Tensor,
  alpha: number,
  b: Float32Array | Tensor,
  beta: number,
  out: Float32Array | Tensor,
): void {
  if (a instanceof Tensor) {
    const others = [b, out].map((list) => handleOf(list as Tensor)) as [bigint, bigint];
    check(native.cuda_floats_combine(handleOf(a), alpha, others[0], beta, others[1]));
    return;
  }
  const [second, target] = [b, out] as [Float32Array, Float32Array];
  check(
    native.gradients_blend(a, a.length, alpha, second, second.length, beta, target, target.length),
  );
}

/** Memory that is to be written. */
function emptyList(count: number, place: Place): List {
  return place === "cpu" ? new Float32Array(count) : emptyTensor([count], place);
}

/** What is remembered, in the place where it is needed, or zeros there. */
function settle(list: List | undefined, count: number, place: Place): List {
  if (list !== undefined && placeOf(list) === place) return list;
  const values = list instanceof Tensor ? list.data() : list ?? new Float32Array(count);
  return place === "cpu"
    ? values as Float32Array<ArrayBuffer>
    : Tensor.from(values, [count], { device: place });
}

const copyOf = (list: List | undefined) =>
  list instanceof Tensor ? list.data() as Float32Array<ArrayBuffer> : list?.slice();

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
  #memory: List | undefined;
  #velocity: List | undefined;
  #received: List | undefined;
  /** Two lists of the same length, for the work of a call. */
  #scratch: [List, List] | undefined;

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
   * Throws as `GradientCodec.compress` does. With a tensor on a CUDA device everything happens there,
   * and what is remembered lies there.
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
  compress(gradients: Float32Array | Tensor, options?: CompressOptions): Uint8Array {
    const list = this.#checked(gradients);
    const [count, place] = [lengthOf(list), placeOf(list)];
    const before = { memory: this.#memory, velocity: this.#velocity, scratch: this.#scratch };
    const memory = settle(before.memory, count, place);
    const velocity = this.momentum > 0 ? settle(before.velocity, count, place) : undefined;
    const isThere = before.scratch !== undefined && placeOf(before.scratch[0]) === place;
    const scratch: [List, List] = isThere
      ? before.scratch!
      : [emptyList(count, place), emptyList(count, place)];
    const isNew = (one: List | undefined) =>
      one !== before.memory && one !== before.velocity && !before.scratch?.includes(one!);
    try {
      return this.#compress(list, memory, velocity, scratch, options);
    } catch (error) {
      [memory, velocity, ...scratch].filter(isNew).forEach(dispose);
      throw error;
    }
  }

  #compress(
    list: Float32Array | Tensor,
    memory: List,
    velocity: List | undefined,
    scratch: [List, List],
    options: CompressOptions | undefined,
  ): Uint8Array {
    const [work, other] = scratch;
    let input = list;
    if (velocity !== undefined) {
      combine(velocity, this.momentum, list, 1 - this.momentum, other);
      input = other;
    }
    const isDifference = this.mode === "ef21";
    combine(input, 1, memory, isDifference ? -1 : 1, work);
    const bytes = this.codec.compress(work, options);
    // The new momentum is in `other`, and the old one's memory is free.
    const restored = velocity ?? other;
    this.#restore(bytes, restored);
    if (isDifference) combine(memory, 1, restored, 1, memory);
    else combine(work, 1, restored, -1, memory);
    this.#keep(memory, velocity && other, [work, restored]);
    return bytes;
  }

  /** Gradients as a list where they are, as many as before. */
  #checked(gradients: Float32Array | Tensor): Float32Array | Tensor {
    const count = this.#memory && lengthOf(this.#memory);
    if (!(gradients instanceof Tensor)) {
      return checkArray(gradients, Float32Array, "gradients", count);
    }
    if (gradients.device === "cpu") return floatsOf(gradients, "gradients", count);
    handleOf(gradients);
    if (count === undefined || gradients.size === count) return gradients;
    throw tritterError(
      "invalid_length",
      `gradients must have ${count} elements, got ${gradients.size}`,
    );
  }

  #restore(bytes: Uint8Array, out: List): void {
    if (out instanceof Tensor) this.codec.decompress(bytes, { out });
    else this.codec.decompress(bytes, { out });
  }

  /** Takes over what is to be remembered, and lets go of what is not. */
  #keep(memory?: List, velocity?: List, scratch?: [List, List]): void {
    const kept = new Set([memory, velocity, ...scratch ?? []]);
    for (const list of [this.#memory, this.#velocity, ...this.#scratch ?? []]) {
      if (!kept.has(list)) dispose(list);
    }
    this.#memory = memory;
    this.#velocity = velocity;
    this.#scratch = scratch;
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
  decompress(bytes: Uint8Array, options?: DecompressOptions): Float32Array<ArrayBuffer>;
  /** Returns it as a tensor, and keeps the sum where that is. */
  decompress(bytes: Uint8Array, options: DecompressTensorOptions): Tensor<"f32">;
  decompress(bytes: Uint8Array, options?: DecompressOptions | DecompressTensorOptions): List {
    const restored = this.codec.decompress(bytes, options as DecompressTensorOptions) as List;
    if (this.mode === "plain") return restored;
    const [list, before] = [listOf(restored), this.#received];
    const count = lengthOf(list);
    if (before !== undefined && lengthOf(before) !== count) {
      throw tritterError(
        "invalid_length",
        `bytes must stand for ${lengthOf(before)} gradients, got ${count}`,
      );
    }
    const received = settle(before, count, placeOf(list));
    combine(received, 1, list, 1, received);
    if (received !== before) dispose(before);
    this.#received = received;
    if (list instanceof Tensor) {
      check(native.cuda_floats_copy(handleOf(received as Tensor), handleOf(list)));
    } else {
      list.set(received as Float32Array);
    }
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
    this.#keep();
    dispose(this.#received);
    this.#received = undefined;
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
    const memory = copyOf(this.#memory);
    if (this.mode === "plain") state.residual = memory;
    else state.estimate = memory;
    state.momentum = copyOf(this.#velocity);
    state.received = copyOf(this.#received);
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
    dispose(this.#received);
    this.#keep(
      memory?.slice() ?? (momentum && new Float32Array(count)),
      momentum?.slice() ?? (memory && this.momentum > 0 ? new Float32Array(count) : undefined),
    );
    this.#received = received?.slice();
    this.codec.restore({ warmStart });
  }
}
