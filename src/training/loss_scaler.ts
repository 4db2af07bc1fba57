// A loss scale that follows what half precision can hold.

import { checkCount, checkNumber, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { scaleInPlace } from "./clip.ts";
import { checkAllGradients, type Gradients, type TensorGradients } from "./gradients.ts";
import { readNumber, readState, readVersion, readWhole } from "./state.ts";

/** How a `LossScaler` begins and moves. */
export interface LossScalerConfig {
  /** The first scale. Default: 65536. */
  initialScale?: number | undefined;
  /** What the scale is multiplied by after `growthInterval` steps without overflow. Default: 2. */
  growthFactor?: number | undefined;
  /** What the scale is multiplied by after an overflow. Default: 0.5. */
  backoffFactor?: number | undefined;
  /** Steps without overflow before the scale grows. Default: 2000. */
  growthInterval?: number | undefined;
  /** The least scale. Default: 1. */
  minScale?: number | undefined;
  /** The largest scale. Default: 2^31. */
  maxScale?: number | undefined;
}

/** A `LossScaler` as JSON. */
export interface LossScalerState extends Required<Omit<LossScalerConfig, "initialScale">> {
  /** Version of this format. */
  version: 1;
  /** The scale. */
  scale: number;
  /** Steps since the scale last changed, or since an overflow. */
  goodSteps: number;
  /** Steps whose gradients were applied. */
  appliedSteps: number;
  /** Steps that were skipped for an overflow. */
  skippedSteps: number;
}

const VERSION = 1;
const SCALE_MIN = 2 ** -126;
const SCALE_MAX = 2 ** 126;

/**
 * Scales the loss so that small gradients survive half precision, and finds the scale by itself.
 *
 * The loss is multiplied by the scale before the backward pass, so every gradient is as well; `step`
 * divides them again, skips the update where one is NaN or infinite, and halves the scale then. After
 * `growthInterval` steps without overflow the scale doubles. It never leaves `minScale` to `maxScale`.
 * Powers of two as factors change no digit of a gradient. (Micikevicius et al., "Mixed precision
 * training", 2018.)
 *
 * @example
 * ```ts
 * import { LossScaler } from "tritter-accel";
 *
 * const scaler = new LossScaler();
 * const weights = Float32Array.of(1, 1);
 * const scaledLoss = scaler.scale(0.25);
 * const gradients = Float32Array.of(0.5 * scaler.factor, -scaler.factor); // of the scaled loss
 * const applied = scaler.step(gradients, () => {
 *   weights.forEach((weight, at) => weights[at] = weight - 0.1 * gradients[at]!);
 * });
 * console.log(scaledLoss, applied, gradients); // 16384 true 0.5 -1
 * ```
 */
export class LossScaler {
  /** What the scale is multiplied by when it grows. */
  readonly growthFactor: number;
  /** What the scale is multiplied by after an overflow. */
  readonly backoffFactor: number;
  /** Steps without overflow before the scale grows. */
  readonly growthInterval: number;
  /** The least scale. */
  readonly minScale: number;
  /** The largest scale. */
  readonly maxScale: number;

  #factor: number;
  #goodSteps = 0;
  #appliedSteps = 0;
  #skippedSteps = 0;

  /** Begins with the initial scale; throws `invalid_value` for bounds or factors that contradict. */
  constructor(config?: LossScalerConfig) {
    const options = checkOptions(config, "config");
    this.growthFactor = checkNumber(options.growthFactor ?? 2, "growthFactor", { min: 1 });
    this.backoffFactor = checkNumber(options.backoffFactor ?? 0.5, "backoffFactor", { max: 1 });
    if (this.backoffFactor <= 0) {
      throw tritterError(
        "invalid_value",
        `backoffFactor must be above 0, got ${this.backoffFactor}`,
      );
    }
    this.growthInterval = checkCount(options.growthInterval ?? 2000, "growthInterval", { min: 1 });
    const bounds = { min: SCALE_MIN, max: SCALE_MAX };
    this.minScale = checkNumber(options.minScale ?? 1, "minScale", bounds);
    this.maxScale = checkNumber(options.maxScale ?? 2 ** 31, "maxScale", {
      min: this.minScale,
      max: SCALE_MAX,
    });
    const initial = options.initialScale ?? Math.min(Math.max(65536, this.minScale), this.maxScale);
    this.#factor = checkNumber(initial, "initialScale", {
      min: this.minScale,
      max: this.maxScale,
    });
  }

  /**
   * Restores a scaler from what `toJSON` gave, as an object or as text.
   *
   * Throws `invalid_format` where it is anything else.
   */
  static fromJSON(state: LossScalerState | string): LossScaler {
    const values = readState(state, "state");
    readVersion(values, VERSION, "state");
    const bounds = { min: SCALE_MIN, max: SCALE_MAX };
    const minScale = readNumber(values, "minScale", bounds);
    const maxScale = readNumber(values, "maxScale", { min: minScale, max: SCALE_MAX });
    const scaler = new LossScaler({
      initialScale: readNumber(values, "scale", { min: minScale, max: maxScale }),
      growthFactor: readNumber(values, "growthFactor", { min: 1, max: SCALE_MAX }),
      backoffFactor: readNumber(values, "backoffFactor", { min: SCALE_MIN, max: 1 }),
      growthInterval: readNumber(values, "growthInterval", {
        min: 1,
        max: 2 ** 32 - 1,
        whole: true,
      }),
      minScale,
      maxScale,
    });
    scaler.#goodSteps = readWhole(values, "goodSteps");
    scaler.#appliedSteps = readWhole(values, "appliedSteps");
    scaler.#skippedSteps = readWhole(values, "skippedSteps");
    return scaler;
  }

  /** The scale: what the loss is multiplied by. */
  get factor(): number {
    return this.#factor;
  }

  /** Steps since the scale last changed. */
  get goodSteps(): number {
    return this.#goodSteps;
  }

  /** Steps whose gradients were applied. */
  get appliedSteps(): number {
    return this.#appliedSteps;
  }

  /** Steps that were skipped for an overflow. */
  get skippedSteps(): number {
    return this.#skippedSteps;
  }

  /** Returns the scaled loss, which the backward pass begins with. */
  scale(loss: number): number {
    if (typeof loss !== "number") {
      throw tritterError("invalid_type", `loss must be a number, got ${describe(loss)}`);
    }
    return loss * this.#factor;
  }

  /**
   * Divides gradients by the scale, in place, and returns whether any of them is NaN or infinite.
   *
   * One pass; where it returns true the gradients hold nothing of use. `step` does this and the rest.
   */
  unscale(gradients: Gradients | TensorGradients): boolean {
    return scaleInPlace(checkAllGradients(gradients, "gradients"), 1 / this.#factor);
  }

  /**
   * Tells the scaler how a step went; for loops that do not use `step`.
   */
  update(overflow: boolean): void {
    if (typeof overflow !== "boolean") {
      throw tritterError("invalid_type", `overflow must be a boolean, got ${describe(overflow)}`);
    }
    if (overflow) {
      this.#skippedSteps += 1;
      this.#goodSteps = 0;
      this.#factor = Math.max(this.#factor * this.backoffFactor, this.minScale);
      return;
    }
    this.#appliedSteps += 1;
    this.#goodSteps += 1;
    if (this.#goodSteps < this.growthInterval) return;
    this.#goodSteps = 0;
    this.#factor = Math.min(this.#factor * this.growthFactor, this.maxScale);
  }

  /**
   * Finishes a step: divides the gradients by the scale, in place, calls `apply` with them if all are
   * finite, and moves the scale. Returns whether they were applied.
   *
   * Where one is NaN or infinite the step is skipped and the gradients hold nothing of use. What
   * `apply` throws passes through, and the scale stays.
   */
  step<G extends Gradients | TensorGradients>(
    gradients: G,
    apply: (gradients: G) => void,
  ): boolean {
    if (typeof apply !== "function") {
      throw tritterError("invalid_type", `apply must be a function, got ${describe(apply)}`);
    }
    const overflow = this.unscale(gradients);
    if (!overflow) apply(gradients);
    this.update(overflow);
    return !overflow;
  }

  /** Returns all there is to know, for `JSON.stringify` and `fromJSON`. */
  toJSON(): LossScalerState {
    return {
      version: VERSION,
      scale: this.#factor,
      goodSteps: this.#goodSteps,
      appliedSteps: this.#appliedSteps,
      skippedSteps: this.#skippedSteps,
      growthFactor: this.growthFactor,
      backoffFactor: this.backoffFactor,
      growthInterval: this.growthInterval,
      minScale: this.minScale,
      maxScale: this.maxScale,
    };
  }
}
