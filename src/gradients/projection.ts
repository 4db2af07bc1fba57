// Linear sketches. The payload is f32 samples, described in lib/cpu/gradients_projection.zig.

import { checkChoice, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { type Message, refuse } from "./container.ts";
import {
  checkPayload,
  checkRatio,
  type Encoder,
  type Kind,
  type KindOptions,
  parameterCount,
  type Values,
} from "./kind.ts";

const METHODS = ["hadamard", "dense"] as const;
const GAINS = ["unbiased", "contraction"] as const;

/** How the projection is computed. */
export type ProjectionMethod = "hadamard" | "dense";

/** Entries of a dense projection, each of which is a random number. */
const DRAWS_MAX = 2 ** 30;

/** Gradients for each number that is kept, at most: bytes of strangers claim no more memory than that. */
const SHARE_MAX = 2 ** 16;

/** How many numbers a container keeps. */
const sentOf = (count: number, share: number) => keptOf(count, Math.max(share, 1 / SHARE_MAX));

/** How many numbers of `count` are kept: a share, rounded up, and at least one. */
export function keptOf(count: number, share: number): number {
  // What was meant as 0.1 of 1000 is 100, however 0.1 is rounded.
  const exact = count * share;
  const nearest = Math.round(exact);
  const kept = Math.abs(exact - nearest) <= 1e-9 * nearest ? nearest : Math.ceil(exact);
  return Math.min(Math.max(kept, 1), count);
}

/** Refuses a dense projection that would take minutes. */
export function checkMethod(method: unknown, count: number, kept: number): number {
  const code = METHODS.indexOf(
    checkChoice(method as ProjectionMethod, METHODS, "method", "hadamard"),
  );
  if (code === 1 && count * kept > DRAWS_MAX) {
    throw tritterError(
      "invalid_option",
      `a dense projection must have at most 2^30 entries, got ${count} x ${kept}`,
    );
  }
  return code;
}

/** Refuses a dense projection of what is on a device. */
export function refuseDense(): never {
  throw tritterError(
    "unsupported",
    'The method "dense" of "projection" has no CUDA kernels: take "hadamard", or the CPU',
  );
}

/** Projects gradients times `factor`; `samples` says how many numbers are kept. */
export function project(
  gradients: Values,
  dense: number,
  seed: bigint,
  factor: number,
  samples: Uint8Array,
): void {
  if (!(gradients instanceof Float32Array)) {
    if (dense === 1) refuseDense();
    const { handle } = gradients;
    const length = samples.length;
    check(native.cuda_gradients_projection_encode(handle, seed, factor, samples, length));
    return;
  }
  check(native.gradients_projection_encode(
    gradients,
    gradients.length,
    dense,
    seed,
    factor,
    samples,
    samples.length,
  ));
}

/** Turns samples into gradients, unbiased unless `contraction` is 1. */
export function unproject(
  samples: Uint8Array,
  dense: number,
  seed: bigint,
  contraction: number,
  out: Values,
): void {
  if (!(out instanceof Float32Array)) {
    if (dense === 1) refuseDense();
    const length = samples.length;
    check(native.cuda_gradients_projection_decode(samples, length, seed, contraction, out.handle));
    return;
  }
  check(native.gradients_projection_decode(
    samples,
    samples.length,
    dense,
    seed,
    contraction,
    out,
    out.length,
  ));
}

/** The kind `"projection"`; its parameters are the samples, the method and the gain. */
export const projection: Kind = {
  name: "projection",
  code: 1,
  options: ["ratio", "method", "gain"],
  parameterCount: 3,
  summable: true,
  onCuda: true,

  create(options: KindOptions): Encoder {
    const share = 1 / checkRatio(options.ratio, 10);
    checkMethod(options.method, 1, 1);
    const gain = GAINS.indexOf(checkChoice(options.gain, GAINS, "gain", "unbiased"));
    return {
      payloadMax: (count) => 4 * sentOf(count, share),
      encode(gradients, seed, parameters, room) {
        const kept = sentOf(gradients.length, share);
        const method = checkMethod(options.method, gradients.length, kept);
        const payload = room(4 * kept);
        parameters.splice(0, 3, kept, method, gain);
        project(gradients, method, seed, 1, payload);
        return payload.length;
      },
    };
  },

  validate(message: Message): void {
    const kept = parameterCount(message, 0, "the samples", { max: message.count });
    if (message.count > SHARE_MAX * kept) {
      refuse(`the samples must be at least one for 2^16 gradients, got ${kept}`);
    }
    const method = parameterCount(message, 1, "the method", { min: 0, max: 1 });
    parameterCount(message, 2, "the gain", { min: 0, max: 1 });
    if (method === 1 && message.count * kept > DRAWS_MAX) {
      refuse(`a dense projection must have at most 2^30 entries, got ${message.count} x ${kept}`);
    }
    checkPayload(message, 4 * kept);
  },

  decode({ payload, parameters, seed }: Message, out: Values): void {
    unproject(payload, parameters[1]!, seed, parameters[2]!, out);
  },
};

/** Checks the share that is kept, from above 0 to 1. */
export function checkShare(ratio: unknown, name: string): number {
  if (typeof ratio !== "number") {
    throw tritterError("invalid_type", `${name} must be a number, got ${describe(ratio)}`);
  }
  if (ratio > 0 && ratio <= 1) return ratio;
  throw tritterError("invalid_value", `${name} must be in (0, 1], got ${ratio}`);
}
