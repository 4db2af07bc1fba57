// One bit a gradient and a scale a block: the mean magnitude, which makes the squared error least.
//
//   payload   [scale f32 x blocks][1 bit a gradient, set where its sign bit is, low bits first]

import { check, native } from "../native/library.ts";
import type { Message } from "./container.ts";
import {
  checkBlock,
  checkPayload,
  type Encoder,
  type Kind,
  type KindOptions,
  parameterBlock,
  type Values,
} from "./kind.ts";

const BLOCK = 4096;
const BLOCKS = { multiple: 64, max: 2 ** 20 };

function payloadBytes(count: number, block: number): number {
  return 4 * Math.ceil(count / block) + Math.ceil(count / 8);
}

/** The kind `"sign"`. */
export const sign: Kind = {
  name: "sign",
  code: 7,
  options: ["block"],
  parameterCount: 1,
  summable: false,
  onCuda: true,

  create(options: KindOptions): Encoder {
    const block = checkBlock(options.block, BLOCKS, BLOCK);
    return {
      payloadMax: (count) => payloadBytes(count, block),
      encode(gradients, _seed, parameters, room) {
        const payload = room(payloadBytes(gradients.length, block));
        parameters[0] = block;
        const length = payload.length;
        check(
          gradients instanceof Float32Array
            ? native.gradients_sign_encode(gradients, gradients.length, block, payload, length)
            : native.cuda_gradients_sign_encode(gradients.handle, block, payload, length),
        );
        return payload.length;
      },
    };
  },

  validate(message: Message): void {
    checkPayload(message, payloadBytes(message.count, parameterBlock(message, 0, BLOCKS)));
  },

  decode({ payload, parameters }: Message, out: Values): void {
    const [length, block] = [payload.length, parameters[0]!];
    check(
      out instanceof Float32Array
        ? native.gradients_sign_decode(payload, length, block, out, out.length)
        : native.cuda_gradients_sign_decode(payload, length, block, out.handle),
    );
  },
};
