// As many bytes as are wanted, or as many as a cosine needs. How is described in
// lib/cpu/gradients_entropy.zig; the payload tells everything itself.

import { checkNumber } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { containerBytes, type Message } from "./container.ts";
import { checkRatio, type Encoder, type Kind, type KindOptions, type Values } from "./kind.ts";

const RATIO = 20;
const COSINE_MAX = 0.99999;
/** The least that a payload may take. */
const BYTES_LEAST = 256;
/** What is written before it is found to be too much. */
const SPARE_SHARE = 1.03;
const SPARE_BYTES = 512;
/** A cosine costs less than bf16 does, and some tables. */
const COSINE_BYTES = 2.5;
const TABLE_BYTES = 8192;
const CHUNK = 2 ** 19;

/** Bytes of the payload for a ratio that counts the container too. */
function wantedBytes(count: number, ratio: number): number {
  const chunks = Math.ceil(count / CHUNK);
  return Math.max(Math.floor(4 * count / ratio) - containerBytes(0, 0), BYTES_LEAST + 8 * chunks);
}

function checkCosine(cosine: unknown): number {
  const number = checkNumber(cosine, "cosine", { max: COSINE_MAX });
  if (number > 0) return number;
  throw tritterError("invalid_value", `cosine must be above 0, got ${number}`);
}

/** The kind `"entropy"`. */
export const entropy: Kind = {
  name: "entropy",
  code: 4,
  options: ["ratio", "cosine"],
  parameterCount: 0,
  summable: false,
  onCuda: true,

  create(options: KindOptions): Encoder {
    if (options.ratio !== undefined && options.cosine !== undefined) {
      throw tritterError("invalid_option", "entropy takes a ratio or a cosine, got both");
    }
    const cosine = options.cosine === undefined ? 0 : checkCosine(options.cosine);
    const ratio = cosine > 0 ? 0 : checkRatio(options.ratio, RATIO);
    const bytes = (count: number) => cosine > 0 ? 0 : wantedBytes(count, ratio);
    const payloadMax = (count: number) =>
      cosine > 0
        ? Math.ceil(COSINE_BYTES * count) + TABLE_BYTES
        : Math.ceil(SPARE_SHARE * bytes(count)) + SPARE_BYTES;
    const used = new Float64Array(1);
    return {
      payloadMax,
      encode(gradients, _seed, _parameters, room) {
        const wanted = bytes(gradients.length);
        const payload = room(payloadMax(gradients.length));
        const target = [payload, payload.length, used, used.length] as const;
        check(
          gradients instanceof Float32Array
            ? native.gradients_entropy_encode(
              gradients,
              gradients.length,
              wanted,
              cosine,
              ...target,
            )
            : native.cuda_gradients_entropy_encode(gradients.handle, wanted, cosine, ...target),
        );
        return used[0]!;
      },
    };
  },

  validate({ payload, count }: Message): void {
    check(native.gradients_entropy_inspect(payload, payload.length, count));
  },

  decode({ payload }: Message, out: Values): void {
    const length = payload.length;
    check(
      out instanceof Float32Array
        ? native.gradients_entropy_decode(payload, length, out, out.length)
        : native.cuda_gradients_entropy_decode(payload, length, out.handle),
    );
  },
};
