// What a codec is on the inside. The container, arguments, devices and `out` are the business of
// codec.ts; a kind gets checked arguments and turns gradients into a payload and back.

import { checkCount, checkNumber, describe } from "../checks.ts";
import type { Device } from "../device.ts";
import { tritterError } from "../errors.ts";
import { type Message, refuse } from "./container.ts";

/** Name of a way to compress gradients. */
export type CodecName =
  | "projection"
  | "ternary"
  | "rotated"
  | "entropy"
  | "topk"
  | "lowrank"
  | "sign"
  | "vsa";

/** Options of `createCodec`; one that a codec does not have is refused. */
export interface CodecOptions {
  /**
   * How many times smaller than f32 the result is to be, such as 20; below 1, the share that is to
   * be left: 0.05 means the same.
   */
  ratio?: number | undefined;
  /** The cosine between gradients and what comes back that is to be reached. */
  cosine?: number | undefined;
  /** Bits of a value. */
  bits?: number | undefined;
  /** What random choices are made from, an integer from 0, below 2^64. Default: 42. */
  seed?: number | bigint | undefined;
  /** Rows and columns of the gradients, where a codec treats them as a matrix. */
  shape?: readonly [number, number] | undefined;
  /** Rank of the approximation of a matrix. */
  rank?: number | undefined;
  /** Gradients that share a scale. */
  block?: number | undefined;
  /** The variant of a codec. */
  method?: string | undefined;
  /**
   * What a projection that comes back is like: `"unbiased"` (default), or a `"contraction"`, which
   * is nearer to the gradients and shorter than they are, as error feedback needs it.
   */
  gain?: "unbiased" | "contraction" | undefined;
  /** Device that computes. Default: the default device. */
  device?: Device | undefined;
}

/** The options that are a kind's own business. */
export type KindOptions = Omit<CodecOptions, "seed" | "device">;

/** Gradients on a CUDA device: what the library calls the tensor. */
export interface CudaValues {
  readonly handle: bigint;
  readonly length: number;
}

/** Gradients wherever they are. */
export type Values = Float32Array | CudaValues;

/** Compresses with the options that it was made from. */
export interface Encoder {
  /** The most bytes of payload that so many gradients become. */
  payloadMax(count: number): number;
  /**
   * Writes the payload into what `room` gives, asked once for as many bytes as may be needed, and
   * returns how many it took.
   *
   * `parameters` are the kind's own, to be set. There is at least one gradient; whether all are
   * finite is found out here, with `invalid_value` naming the index. A kind that is not `onCuda` gets
   * arrays only.
   */
  encode(
    gradients: Values,
    seed: bigint,
    parameters: number[],
    room: (bytes: number) => Uint8Array,
  ): number;
  /** Forgets what earlier calls left. */
  reset?(): void;
  /** What earlier calls left for the next ones: the array itself. */
  readonly memory?: Float32Array;
}

/** A way to compress gradients; kinds.ts lists them. */
export interface Kind {
  readonly name: CodecName;
  /** What containers call it; never given to another kind. */
  readonly code: number;
  /** The options that it takes, besides `seed` and `device`. */
  readonly options: readonly (keyof KindOptions)[];
  /** Numbers in the header of a container. */
  readonly parameterCount: number;
  /** Whether the payload is f32 and the sum of two payloads is that of the summed gradients. */
  readonly summable: boolean;
  /** Whether it has CUDA kernels, both ways. */
  readonly onCuda?: true;
  /** Checks the options. */
  create(options: KindOptions): Encoder;
  /**
   * Throws `invalid_format` unless the parameters are sound and the payload has the length that
   * they imply: it runs before memory for `message.count` gradients is allocated.
   */
  validate(message: Message): void;
  /** Writes all `message.count` gradients; a kind that is not `onCuda` gets arrays only. */
  decode(message: Message, out: Values): void;
}

/** How many times smaller a `ratio` means; both ways of writing it are one number here. */
export function checkRatio(ratio: unknown, fallback: number): number {
  if (ratio === undefined) return fallback;
  const number = checkNumber(ratio, "ratio", { max: COMPRESSION_MAX });
  if (!(number > 0)) {
    throw tritterError("invalid_value", `ratio must be above 0, got ${describe(ratio)}`);
  }
  return number < 1 ? 1 / number : number;
}

const COMPRESSION_MAX = 2 ** 32;

/** Sizes of blocks that a kind can do. */
interface Blocks {
  multiple: number;
  max: number;
}

/** Checks how many gradients share a scale. */
export function checkBlock(block: unknown, { multiple, max }: Blocks, fallback: number): number {
  if (block === undefined) return fallback;
  const size = checkCount(block, "block", { min: multiple, max });
  if (size % multiple === 0) return size;
  throw tritterError("invalid_value", `block must be a multiple of ${multiple}, got ${size}`);
}

/** The same for one that a container names. */
export function parameterBlock(
  message: Message,
  index: number,
  { multiple, max }: Blocks,
): number {
  const size = parameterCount(message, index, "block", { min: multiple, max });
  if (size % multiple === 0) return size;
  refuse(`block must be a multiple of ${multiple}, got ${size}`);
}

/** A parameter of a container that must be an integer from `min` to `max`. */
export function parameterCount(
  { parameters }: Message,
  index: number,
  name: string,
  { min = 1, max }: { min?: number; max: number },
): number {
  const value = parameters[index]!;
  if (!Number.isInteger(value) || value < min || value > max) {
    refuse(`${name} must be an integer from ${min} to ${max}, got ${value}`);
  }
  return value;
}

/** Throws `invalid_format` unless the payload has as many bytes as the header implies. */
export function checkPayload({ payload }: Message, length: number): void {
  if (payload.length !== length) {
    refuse(`the payload must have ${length} bytes, got ${payload.length}`);
  }
}
