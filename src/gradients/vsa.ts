// Gradients as hypervectors in a bundle. The payload is described in lib/cpu/gradients_bundle.zig.

import { check, native } from "../native/library.ts";
import type { Message } from "./container.ts";
import {
  checkPayload,
  checkRatio,
  type Encoder,
  type Kind,
  type KindOptions,
  parameterCount,
  type Values,
} from "./kind.ts";

const RATIO = 40;
/** Five trits are a byte. */
const BITS_PER_TRIT = 1.6;

const bytes = new Float64Array(1);

function payloadBytes(count: number, dim: number): number {
  check(native.gradients_vsa_bytes(count, dim, bytes, 1));
  return bytes[0]!;
}

/** Dimensions of the bundle: the members are as many as are needed, and of one size. */
function dimOf(count: number, ratio: number): number {
  const dim = 32 * count / ratio / BITS_PER_TRIT;
  const members = Math.max(Math.ceil(count / dim - 1e-9), 1);
  return Math.max(Math.ceil(count / members), 1);
}

/** The kind `"vsa"`; its parameter is the number of dimensions. */
export const vsa: Kind = {
  name: "vsa",
  code: 8,
  options: ["ratio"],
  parameterCount: 1,
  summable: false,
  onCuda: true,

  create(options: KindOptions): Encoder {
    const ratio = checkRatio(options.ratio, RATIO);
    return {
      payloadMax: (count) => payloadBytes(count, dimOf(count, ratio)),
      encode(gradients, seed, parameters, room) {
        const dim = dimOf(gradients.length, ratio);
        const payload = room(payloadBytes(gradients.length, dim));
        parameters[0] = dim;
        const length = payload.length;
        check(
          gradients instanceof Float32Array
            ? native.gradients_vsa_encode(
              ...[gradients, gradients.length, dim, seed, payload, length] as const,
            )
            : native.cuda_gradients_vsa_encode(
              ...[gradients.handle, dim, seed, payload, length] as const,
            ),
        );
        return payload.length;
      },
    };
  },

  validate(message: Message): void {
    const dim = parameterCount(message, 0, "the dimensions", { max: message.count });
    checkPayload(message, payloadBytes(message.count, dim));
  },

  decode({ payload, parameters, seed }: Message, out: Values): void {
    const [length, dim] = [payload.length, parameters[0]!];
    check(
      out instanceof Float32Array
        ? native.gradients_vsa_decode(payload, length, dim, seed, out, out.length)
        : native.cuda_gradients_vsa_decode(payload, length, dim, seed, out.handle),
    );
  },
};
