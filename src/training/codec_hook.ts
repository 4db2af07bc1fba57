// Compressed gradients within a trainer: what training makes of what a codec leaves of them.

import { checkFinite, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { checkOnCpu, type TrainerHook, type TrainerStep } from "./hooks.ts";

/** What compresses gradients: a `GradientCodec`, or an `ErrorFeedback` around one. */
export interface GradientCompression {
  /** Compresses all gradients of a step; the seed is another one at every step. */
  compress(gradients: Float32Array, options?: { seed?: number | bigint }): Uint8Array;
  /** Returns what the bytes stand for, in `out`. */
  decompress(bytes: Uint8Array, options?: { out?: Float32Array }): Float32Array;
  /** What it remembers, for checkpoints: arrays by name. */
  state?(): Readonly<Record<string, Float32Array | undefined>> | object;
  /** Takes over what `state` gave. */
  restore?(state: Record<string, Float32Array>): void;
}

/** Options of `codecHook`. */
export interface CodecHookOptions {
  /** The seed of step 0; that of step i is larger by i. Default: 0. */
  seed?: number | undefined;
}

/**
 * Replaces the gradients of every step by what a codec makes of them, as if they had been sent.
 *
 * All parameters are compressed as one list, in their order, before they are clipped; predicted gradients
 * are left alone. The metrics get `compressedBytes`, `compressionRatio` (to float32) and
 * `compressionCosine` with the true gradients. What an `ErrorFeedback` keeps goes into checkpoints.
 *
 * @example
 * ```ts
 * import { codecHook, createCodec, ErrorFeedback } from "tritter-accel";
 *
 * const hook = codecHook(new ErrorFeedback(createCodec("entropy", { ratio: 20 })));
 * console.log(hook.name); // codec
 * ```
 */
export function codecHook(codec: GradientCompression, options?: CodecHookOptions): TrainerHook {
  const { seed = 0 } = checkOptions(options, "options");
  if (typeof codec?.compress !== "function" || typeof codec.decompress !== "function") {
    throw tritterError(
      "invalid_type",
      `codec must have compress and decompress, got ${describe(codec)}`,
    );
  }
  let flat = new Float32Array(0);
  let restored = flat;
  return {
    name: "codec",
    beforeStep: ({ parameters }) => checkOnCpu(parameters, "codecHook"),
    afterBackward({ predicted, parameters, metrics, step }) {
      if (predicted) return;
      const count = parameters.reduce((sum, { gradient }) => sum + gradient.length, 0);
      if (flat.length !== count) {
        flat = new Float32Array(count);
        restored = new Float32Array(count);
      }
      eachPart(parameters, (gradient, start) => flat.set(gradient, start));
      const bytes = codec.compress(flat, { seed: seed + step });
      codec.decompress(bytes, { out: restored });
      eachPart(parameters, (gradient, start) => {
        gradient.set(restored.subarray(start, start + gradient.length));
      });
      metrics.compressedBytes = bytes.length;
      metrics.compressionRatio = 4 * count / bytes.length;
      metrics.compressionCosine = cosine(flat, restored);
    },
    state() {
      const given = Object.entries(codec.state?.() ?? {});
      return { arrays: Object.fromEntries(given.filter(([, array]) => array !== undefined)) };
    },
    loadState({ arrays = {} }) {
      const floats: Record<string, Float32Array> = {};
      for (const [name, array] of Object.entries(arrays)) {
        if (!(array instanceof Float32Array)) {
          throw tritterError("invalid_format", `Tensor hook.codec.${name} must be F32`);
        }
        checkFinite(array, `hook.codec.${name}`);
        floats[name] = array;
      }
      codec.restore?.(floats);
    },
  };
}

function eachPart(
  parameters: TrainerStep["parameters"],
  use: (gradient: Float32Array, start: number) => void,
): void {
  let start = 0;
  for (const { gradient } of parameters) {
    use(gradient, start);
    start += gradient.length;
  }
}

/** 1 where both are zero. */
function cosine(a: Float32Array, b: Float32Array): number {
  let [dot, squares, others] = [0, 0, 0];
  for (let index = 0; index < a.length; index += 1) {
    dot += a[index]! * b[index]!;
    squares += a[index]! ** 2;
    others += b[index]! ** 2;
  }
  if (squares === 0 && others === 0) return 1;
  return dot / Math.sqrt(squares * others || 1);
}
