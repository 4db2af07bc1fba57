// What everything that is saved lies in.
//
//   0        8         12        16       16 + n        aligned to 8              end - 8
//   | magic  | version | n: u32  | header | zeros       | payload                 | XXH64: u64 |
//
// The header is JSON in UTF-8, an object whose `kind` says what the payload is. Numbers are
// little-endian, and the sum (seed 0) is that of all bytes before it.

import { checkArray, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";

/** The header of what is saved, with what its kind needs beside its name. */
export interface ContainerHeader {
  /** What the payload is. */
  kind: string;
  /** Whatever else belongs to it. */
  [name: string]: unknown;
}

const MAGIC = new TextEncoder().encode("TRITVSA\0");
const VERSION = 1;
const FIXED_BYTES = 16;
const SUM_BYTES = 8;
const BYTES_MAX = 2 ** 32 - 1;

const sum = new BigUint64Array(1);

/** XXH64 of bytes, with seed 0. */
function checksum(bytes: Uint8Array): bigint {
  check(native.checksum(bytes, bytes.length, sum, 1));
  return sum[0]!;
}

function payloadStart(headerLength: number): number {
  return Math.ceil((FIXED_BYTES + headerLength) / 8) * 8;
}

function refuse(message: string, cause?: unknown): never {
  throw tritterError("invalid_format", message, cause === undefined ? undefined : { cause });
}

/** Puts a header and the parts of a payload, one after the other, into a container. */
export function writeContainer(
  kind: string,
  header: Record<string, unknown>,
  payloadParts: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(JSON.stringify({ kind, ...header }));
  const start = payloadStart(text.length);
  const end = payloadParts.reduce((place, part) => place + part.length, start);
  if (end + SUM_BYTES > BYTES_MAX) {
    throw tritterError(
      "invalid_length",
      `what is saved must have fewer than 2^32 bytes, got ${end + SUM_BYTES}`,
    );
  }
  const bytes = new Uint8Array(end + SUM_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(8, VERSION, true);
  view.setUint32(12, text.length, true);
  bytes.set(text, FIXED_BYTES);
  let place = start;
  for (const part of payloadParts) {
    bytes.set(part, place);
    place += part.length;
  }
  view.setBigUint64(end, checksum(bytes.subarray(0, end)), true);
  return bytes;
}

/** Checks a container, and returns its header and a view of its payload. Throws `invalid_format`. */
export function readContainer(
  bytes: Uint8Array,
  kind: string,
): { header: ContainerHeader; payload: Uint8Array } {
  checkArray(bytes, Uint8Array, "bytes");
  if (bytes.length < FIXED_BYTES + SUM_BYTES) {
    refuse(`bytes must be a saved ${kind}, got only ${bytes.length} bytes`);
  }
  if (MAGIC.some((byte, place) => bytes[place] !== byte)) {
    refuse(`bytes must begin with "TRITVSA", got something else`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const version = view.getUint32(8, true);
  if (version !== VERSION) refuse(`bytes must be of version ${VERSION}, got ${version}`);
  const headerLength = view.getUint32(12, true);
  const start = payloadStart(headerLength);
  const end = bytes.length - SUM_BYTES;
  if (start > end) {
    refuse(`the header must fit ${bytes.length} bytes, got a length of ${headerLength}`);
  }
  if (view.getBigUint64(end, true) !== checksum(bytes.subarray(0, end))) {
    refuse("bytes must have the checksum that they end in, got another: they were damaged");
  }
  const header = parseHeader(bytes.subarray(FIXED_BYTES, FIXED_BYTES + headerLength));
  if (header.kind !== kind) {
    refuse(`bytes must be a saved ${kind}, got ${describe(header.kind)}`);
  }
  // Not by subarray: that of a Buffer is a Buffer, whose slices are views of all its memory.
  return { header, payload: new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start) };
}

function parseHeader(text: Uint8Array): ContainerHeader {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
  } catch (cause) {
    refuse("the header must be JSON in UTF-8, got something else", cause);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    refuse(`the header must be an object, got ${describe(header)}`);
  }
  return header as ContainerHeader;
}

/** Reads an integer of a header; throws `invalid_format` unless it is one from `min` to `max`. */
export function headerCount(
  header: ContainerHeader,
  name: string,
  { min = 0, max = BYTES_MAX }: { min?: number; max?: number } = {},
): number {
  const value = header[name];
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
    refuse(`${name} must be an integer from ${min} to ${max}, got ${describe(value)}`);
  }
  return value;
}

/** Throws `invalid_format` unless a payload has as many bytes as its header implies. */
export function checkPayload(payload: Uint8Array, length: number): void {
  if (payload.length !== length) {
    refuse(`the payload must have ${length} bytes, got ${payload.length}`);
  }
}
