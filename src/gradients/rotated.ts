// A random rotation, and a few levels for each rotated gradient. The payload is described in
// lib/cpu/gradients_rotated.zig.

import { checkNumber } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { type Message, refuse } from "./container.ts";
import {
  checkPayload,
  checkRatio,
  type Encoder,
  type Kind,
  type KindOptions,
  type Values,
} from "./kind.ts";

/** Bits of a value, how many levels they are, and the cosine that these reach (see the tests). */
const CHOICES = [
  { bits: 1, levels: 2, cosine: 0.797 },
  { bits: 1.58, levels: 3, cosine: 0.899 },
  { bits: 2, levels: 4, cosine: 0.939 },
  { bits: 3, levels: 8, cosine: 0.982 },
  { bits: 4, levels: 16, cosine: 0.995 },
] as const;

/** Bits that are sent for a value: five of three levels are a byte. */
const sent = (bits: number) => bits === 1.58 ? 1.6 : bits;

const bytes = new Float64Array(1);

function payloadBytes(count: number, levels: number): number {
  check(native.gradients_rotated_bytes(count, levels, bytes, 1));
  return bytes[0]!;
}

/** The levels that options ask for, by bits, by ratio or by cosine. */
function levelsOf({ bits, ratio, cosine }: KindOptions): number {
  if ([bits, ratio, cosine].filter((option) => option !== undefined).length > 1) {
    throw tritterError("invalid_option", "options must have one of bits, ratio and cosine");
  }
  if (ratio !== undefined) {
    const most = 32 / checkRatio(ratio, 16);
    // What a header and scales take is not counted.
    const found = CHOICES.findLast((choice) => sent(choice.bits) <= most + 1e-9);
    return found?.levels ?? refuseOption(`ratio must be at most 32, got ${ratio}`);
  }
  if (cosine !== undefined) {
    const least = checkNumber(cosine, "cosine", { min: 0, max: 1 });
    const found = CHOICES.find((choice) => choice.cosine >= least);
    return found?.levels ?? refuseOption(`cosine must be at most 0.995, got ${cosine}`);
  }
  if (bits === undefined) return 4;
  const found = CHOICES.find((choice) => choice.bits === bits);
  return found?.levels ?? refuseOption(`bits must be 1, 1.58, 2, 3 or 4, got ${String(bits)}`);
}

function refuseOption(message: string): never {
  throw tritterError("invalid_option", message);
}

function levelsIn({ parameters }: Message): number {
  const levels = parameters[0]!;
  if (CHOICES.some((choice) => choice.levels === levels)) return levels;
  refuse(`the levels must be 2, 3, 4, 8 or 16, got ${levels}`);
}

/** The kind `"rotated"`. */
export const rotated: Kind = {
  name: "rotated",
  code: 3,
  options: ["bits", "ratio", "cosine"],
  parameterCount: 1,
  summable: false,
  onCuda: true,

  create(options: KindOptions): Encoder {
    const levels = levelsOf(options);
    return {
      payloadMax: (count) => payloadBytes(count, levels),
      encode(gradients, seed, parameters, room) {
        const payload = room(payloadBytes(gradients.length, levels));
        parameters[0] = levels;
        const length = payload.length;
        check(
          gradients instanceof Float32Array
            ? native.gradients_rotated_encode(
              ...[gradients, gradients.length, levels, seed, payload, length] as const,
            )
            : native.cuda_gradients_rotated_encode(
              ...[gradients.handle, levels, seed, payload, length] as const,
            ),
        );
        return payload.length;
      },
    };
  },

  validate(message: Message): void {
    checkPayload(message, payloadBytes(message.count, levelsIn(message)));
  },

  decode({ payload, parameters, seed }: Message, out: Values): void {
    const [length, levels] = [payload.length, parameters[0]!];
    check(
      out instanceof Float32Array
        ? native.gradients_rotated_decode(payload, length, levels, seed, out, out.length)
        : native.cuda_gradients_rotated_decode(payload, length, levels, seed, out.handle),
    );
  },
};
