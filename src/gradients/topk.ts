// The largest gradients and their places; the payload is described in lib/cpu/gradients_topk.zig.

import { checkChoice, checkCount } from "../checks.ts";
import { check, native } from "../native/library.ts";
import { containerBytes, type Message } from "./container.ts";
import {
  checkRatio,
  type Encoder,
  type Kind,
  type KindOptions,
  parameterCount,
  type Values,
} from "./kind.ts";

const RATIO = 50;
const BITS = 8;
const BITS_RANGE = { min: 4, max: 8 };
const METHODS = ["sampled", "exact"] as const;
/** One gradient and its place; a chunk's numbers; and what is written before it is found too much. */
const BYTES_LEAST = 24;
const CHUNK = 2 ** 20;
const CHUNK_BYTES = 8;
const BYTES_SPARE = 64;

/** Bytes of the payload for a ratio that counts the container too. */
function wantedBytes(count: number, ratio: number): number {
  const least = BYTES_LEAST + CHUNK_BYTES * Math.ceil(count / CHUNK);
  return Math.max(Math.floor(4 * count / ratio) - containerBytes(1, 0), least);
}

/** The kind `"topk"`. */
export const topk: Kind = {
  name: "topk",
  code: 5,
  options: ["ratio", "bits", "method"],
  parameterCount: 1,
  summable: false,
  onCuda: true,

  create(options: KindOptions): Encoder {
    const ratio = checkRatio(options.ratio, RATIO);
    const bits = options.bits === undefined ? BITS : checkCount(options.bits, "bits", BITS_RANGE);
    const exact = METHODS.indexOf(
      checkChoice(options.method as "exact", METHODS, "method", "exact"),
    );
    const payloadMax = (count: number) =>
      wantedBytes(count, ratio) + CHUNK_BYTES * Math.ceil(count / CHUNK) + BYTES_SPARE;
    const used = new Float64Array(1);
    return {
      payloadMax,
      encode(gradients: Values, _seed, parameters, room) {
        const payload = room(payloadMax(gradients.length));
        parameters[0] = bits;
        const bytes = wantedBytes(gradients.length, ratio);
        const rest = [bytes, bits, exact, payload, payload.length, used, used.length] as const;
        check(
          gradients instanceof Float32Array
            ? native.gradients_topk_encode(gradients, gradients.length, ...rest)
            : native.cuda_gradients_topk_encode(gradients.handle, ...rest),
        );
        return used[0]!;
      },
    };
  },

  validate(message: Message): void {
    const bits = parameterCount(message, 0, "bits", BITS_RANGE);
    const { payload, count } = message;
    check(native.gradients_topk_inspect(payload, payload.length, bits, count));
  },

  decode({ payload, parameters }: Message, out: Values): void {
    const [length, bits] = [payload.length, parameters[0]!];
    check(
      out instanceof Float32Array
        ? native.gradients_topk_decode(payload, length, bits, out, out.length)
        : native.cuda_gradients_topk_decode(payload, length, bits, out.handle),
    );
  },
};
