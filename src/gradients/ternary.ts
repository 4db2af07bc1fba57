// -1, 0 or 1 for each gradient, five in a byte, and a scale a block. The rules and the payload are
// described in lib/cpu/gradients_ternary.zig.

import { checkChoice } from "../checks.ts";
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

/** In the order of the library. */
const METHODS = ["optimal", "twn", "absmean"] as const;
const BLOCK = 640;
const BLOCKS = { multiple: 320, max: 320 * 1024 };

function payloadBytes(count: number, block: number): number {
  return 4 * Math.ceil(count / block) + Math.ceil(count / 5);
}

/** The kind `"ternary"`. */
export const ternary: Kind = {
  name: "ternary",
  code: 2,
  options: ["block", "method"],
  parameterCount: 1,
  summable: false,
  onCuda: true,

  create(options: KindOptions): Encoder {
    const block = checkBlock(options.block, BLOCKS, BLOCK);
    const method = METHODS.indexOf(
      checkChoice(options.method as "optimal", METHODS, "method", "optimal"),
    );
    return {
      payloadMax: (count) => payloadBytes(count, block),
      encode(gradients, _seed, parameters, room) {
        const payload = room(payloadBytes(gradients.length, block));
        parameters[0] = block;
        const length = payload.length;
        check(
          gradients instanceof Float32Array
            ? native.gradients_ternary_encode(
              ...[gradients, gradients.length, block, method, payload, length] as const,
            )
            : native.cuda_gradients_ternary_encode(
              ...[gradients.handle, block, method, payload, length] as const,
            ),
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
        ? native.gradients_ternary_decode(payload, length, block, out, out.length)
        : native.cuda_gradients_ternary_decode(payload, length, block, out.handle),
    );
  },
};
