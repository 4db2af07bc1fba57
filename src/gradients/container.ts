// What compressed gradients lie in. Numbers are little-endian.
//
//   offset  0  magic "TRITGRAD"
//           8  version                          u16
//          10  codec                            u8, see kinds.ts
//          11  number of parameters p           u8
//          12  zero                             u32
//          16  gradients                        u64, at least 1, below 2^32
//          24  seed                             u64
//          32  bytes of the payload b           u64
//          40  parameters of the codec          p x f64
//    40 + 8p  payload                           b bytes
//         end  XXH64 of all bytes before, seed 0  u64
//
// Parameters are what the codec needs to know before it reads the payload: block sizes, levels, ranks.

import { checkArray } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";

const MAGIC = new TextEncoder().encode("TRITGRAD");
const VERSION = 1;
const FIXED_BYTES = 40;
const SUM_BYTES = 8;
/** The native library counts bytes in a u32. */
const BYTES_MAX = 2 ** 32 - 1;

/** The most gradients that are compressed together. */
export const COUNT_MAX: number = 2 ** 32 - 1;

/** What compressed gradients say about themselves, and their payload as a view. */
export interface Message {
  readonly codec: number;
  readonly count: number;
  readonly seed: bigint;
  readonly parameters: readonly number[];
  readonly payload: Uint8Array;
}

const sum = new BigUint64Array(1);

function checksum(bytes: Uint8Array): bigint {
  check(native.checksum(bytes, bytes.length, sum, 1));
  return sum[0]!;
}

/** Throws `invalid_format`. */
export function refuse(message: string): never {
  throw tritterError("invalid_format", message);
}

/** Bytes of a container whose payload has `payloadBytes`. */
export function containerBytes(parameterCount: number, payloadBytes: number): number {
  return FIXED_BYTES + 8 * parameterCount + payloadBytes + SUM_BYTES;
}

/** The bytes between header and checksum of a container that is being written. */
export function payloadOf(
  bytes: Uint8Array,
  parameterCount: number,
  payloadBytes: number,
): Uint8Array {
  const start = FIXED_BYTES + 8 * parameterCount;
  return bytes.subarray(start, start + payloadBytes);
}

/** Memory for a container: `out`, which must be large enough, or new memory. */
export function roomFor(length: number, out: Uint8Array | undefined): Uint8Array {
  if (length > BYTES_MAX) {
    throw tritterError(
      "invalid_length",
      `compressed gradients must have fewer than 2^32 bytes, got ${length}`,
    );
  }
  if (out === undefined) return new Uint8Array(length);
  if (out.length < length) {
    throw tritterError(
      "invalid_length",
      `out must have at least ${length} elements, got ${out.length}`,
    );
  }
  return out;
}

/** Writes header and checksum around the payload that is there already; returns what is used. */
export function seal(
  bytes: Uint8Array,
  message: Omit<Message, "payload">,
  payloadBytes: number,
): Uint8Array {
  const { codec, count, seed, parameters } = message;
  const length = containerBytes(parameters.length, payloadBytes);
  const sealed = bytes.subarray(0, length);
  const view = new DataView(sealed.buffer, sealed.byteOffset, length);
  sealed.set(MAGIC);
  view.setUint16(8, VERSION, true);
  view.setUint8(10, codec);
  view.setUint8(11, parameters.length);
  view.setUint32(12, 0, true);
  view.setBigUint64(16, BigInt(count), true);
  view.setBigUint64(24, seed, true);
  view.setBigUint64(32, BigInt(payloadBytes), true);
  for (const [index, parameter] of parameters.entries()) {
    view.setFloat64(FIXED_BYTES + 8 * index, parameter, true);
  }
  const end = length - SUM_BYTES;
  view.setBigUint64(end, checksum(sealed.subarray(0, end)), true);
  return sealed;
}

/** Checks everything that all codecs share. Throws `invalid_format`. */
export function open(bytes: Uint8Array): Message {
  checkArray(bytes, Uint8Array, "bytes");
  if (bytes.length < FIXED_BYTES + SUM_BYTES) {
    refuse(`bytes must be compressed gradients, got only ${bytes.length} bytes`);
  }
  if (MAGIC.some((byte, place) => bytes[place] !== byte)) {
    refuse(`bytes must begin with "TRITGRAD", got something else`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const version = view.getUint16(8, true);
  if (version !== VERSION) refuse(`bytes must be of version ${VERSION}, got ${version}`);
  const parameterCount = view.getUint8(11);
  const payloadBytes = view.getBigUint64(32, true);
  const length = BigInt(containerBytes(parameterCount, 0)) + payloadBytes;
  if (length !== BigInt(bytes.length)) {
    refuse(`bytes must have the ${length} that their header implies, got ${bytes.length}`);
  }
  const end = bytes.length - SUM_BYTES;
  if (view.getBigUint64(end, true) !== checksum(bytes.subarray(0, end))) {
    refuse("bytes must have the checksum that they end in, got another: they were damaged");
  }
  const count = view.getBigUint64(16, true);
  if (view.getUint32(12, true) !== 0 || count < 1n || count > BigInt(COUNT_MAX)) {
    refuse(`the gradients must be from 1 to ${COUNT_MAX}, got ${count}`);
  }
  const start = FIXED_BYTES + 8 * parameterCount;
  return {
    codec: view.getUint8(10),
    count: Number(count),
    seed: view.getBigUint64(24, true),
    parameters: Array.from(
      { length: parameterCount },
      (_, index) => view.getFloat64(FIXED_BYTES + 8 * index, true),
    ),
    payload: bytes.subarray(start, end),
  };
}
