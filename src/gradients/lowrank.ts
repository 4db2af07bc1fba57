// A matrix as the product of two thin ones, PowerSGD. The payload is described in
// lib/cpu/gradients_matrix.zig.

import { checkCount, checkShape } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { COUNT_MAX, type Message, refuse } from "./container.ts";
import {
  checkPayload,
  checkRatio,
  type Encoder,
  type Kind,
  type KindOptions,
  parameterCount,
  type Values,
} from "./kind.ts";

const RANK = 4;

const payloadBytes = (rows: number, cols: number, rank: number) => 4 * rank * (rows + cols);

/** The rank that options ask for; a ratio counts the numbers that are sent. */
function rankOf({ rank, ratio }: KindOptions, rows: number, cols: number): number {
  const most = Math.min(rows, cols);
  if (rank === undefined && ratio === undefined) return Math.min(RANK, most);
  if (ratio === undefined) return checkCount(rank, "rank", { min: 1, max: most });
  if (rank !== undefined) {
    throw tritterError("invalid_option", "options must have one of rank and ratio, got both");
  }
  const kept = rows * cols / (checkRatio(ratio, 1) * (rows + cols));
  return Math.min(Math.max(Math.floor(kept + 1e-9), 1), most);
}

class LowrankEncoder implements Encoder {
  readonly #rows: number;
  readonly #cols: number;
  readonly #rank: number;
  /** The second thin matrix of the call before; zeros start at random. */
  readonly memory: Float32Array;

  constructor(options: KindOptions) {
    if (options.shape === undefined) {
      throw tritterError("invalid_option", "lowrank must have a shape, got none");
    }
    const [rows, cols] = checkShape(options.shape, "shape", 2) as [number, number];
    this.#rows = rows;
    this.#cols = cols;
    this.#rank = rankOf(options, rows, cols);
    this.memory = new Float32Array(this.#rank * cols);
  }

  payloadMax(): number {
    return payloadBytes(this.#rows, this.#cols, this.#rank);
  }

  encode(
    gradients: Values,
    seed: bigint,
    parameters: number[],
    room: (bytes: number) => Uint8Array,
  ): number {
    const [rows, cols] = [this.#rows, this.#cols];
    if (gradients.length !== rows * cols) {
      throw tritterError(
        "invalid_length",
        `gradients must have ${rows} x ${cols} = ${rows * cols} elements, got ${gradients.length}`,
      );
    }
    const payload = room(this.payloadMax());
    parameters.splice(0, 2, rows, this.#rank);
    const shared = [rows, this.#rank, seed, this.memory, this.memory.length] as const;
    check(
      gradients instanceof Float32Array
        ? native.gradients_lowrank_encode(
          ...[gradients, gradients.length, ...shared, payload, payload.length] as const,
        )
        : native.cuda_gradients_lowrank_encode(
          ...[gradients.handle, ...shared, payload, payload.length] as const,
        ),
    );
    return payload.length;
  }

  reset(): void {
    this.memory.fill(0);
  }
}

/** The kind `"lowrank"`; its parameters are the rows and the rank. */
export const lowrank: Kind = {
  name: "lowrank",
  code: 6,
  options: ["shape", "rank", "ratio"],
  parameterCount: 2,
  summable: false,
  onCuda: true,

  create: (options: KindOptions): Encoder => new LowrankEncoder(options),

  validate(message: Message): void {
    const rows = parameterCount(message, 0, "the rows", { max: COUNT_MAX });
    const cols = message.count / rows;
    if (!Number.isInteger(cols)) refuse(`the rows must divide ${message.count}, got ${rows}`);
    const rank = parameterCount(message, 1, "the rank", { max: Math.min(rows, cols) });
    checkPayload(message, payloadBytes(rows, cols, rank));
  },

  decode({ payload, parameters }: Message, out: Values): void {
    const [rows, rank] = parameters as [number, number];
    check(
      out instanceof Float32Array
        ? native.gradients_lowrank_decode(payload, payload.length, rows, rank, out, out.length)
        : native.cuda_gradients_lowrank_decode(payload, payload.length, rows, rank, out.handle),
    );
  },
};
