// Sums of sketches, by which the gradients of several workers become one.

import { checkArray, checkOptions } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { containerBytes, payloadOf, roomFor, seal } from "./container.ts";
import { read } from "./kinds.ts";

/** Where the sum of sketches goes. */
export interface AddCompressedOptions {
  /** At least as many bytes as each sketch has; may be one of the two. */
  out?: Uint8Array | undefined;
}

function mismatch(what: string, a: unknown, b: unknown): never {
  throw tritterError("invalid_value", `both must have the same ${what}, got ${a} and ${b}`);
}

/**
 * Adds compressed gradients without decompressing them: what comes back is the sum of the gradients.
 *
 * Both must be of a codec that is `summable` (`"projection"`), with the same number of gradients,
 * seed and options. Throws `invalid_option` for other codecs, `invalid_value` where they do not fit
 * each other, `invalid_format` for bytes that are damaged.
 *
 * @example
 * ```ts
 * import { addCompressed, createCodec } from "tritter-accel";
 *
 * const codec = createCodec("projection", { ratio: 1 });
 * const a = codec.compress(Float32Array.of(1, 2, 3, 4));
 * const b = codec.compress(Float32Array.of(10, 20, 30, 40));
 * console.log(codec.decompress(addCompressed(a, b))); // about 11 22 33 44
 * ```
 */
export function addCompressed(
  a: Uint8Array,
  b: Uint8Array,
  options?: AddCompressedOptions,
): Uint8Array {
  const { out } = checkOptions(options, "options");
  if (out !== undefined) checkArray(out, Uint8Array, "out");
  const { kind, message } = read(a);
  const other = read(b);
  if (kind !== other.kind) mismatch("codec", `"${kind.name}"`, `"${other.kind.name}"`);
  if (!kind.summable) {
    throw tritterError("invalid_option", `bytes must be of a summable codec, got "${kind.name}"`);
  }
  if (message.count !== other.message.count) {
    mismatch("number of gradients", message.count, other.message.count);
  }
  if (message.seed !== other.message.seed) mismatch("seed", message.seed, other.message.seed);
  const parameters = message.parameters.join(", ");
  if (parameters !== other.message.parameters.join(", ")) {
    mismatch("parameters", `[${parameters}]`, `[${other.message.parameters.join(", ")}]`);
  }
  const length = message.payload.length;
  const target = roomFor(containerBytes(kind.parameterCount, length), out);
  const sums = payloadOf(target, kind.parameterCount, length);
  const [x, y] = [message.payload, other.message.payload];
  check(native.gradients_add_samples(x, length, y, length, sums, length));
  return seal(target, message, length);
}
