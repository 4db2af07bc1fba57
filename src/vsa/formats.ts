// Rows of native vectors, which stand behind a handle, from and to bytes.
//
//   wire     2 bits a trit, low bits first: 00 = 0, 01 = +1, 10 = -1, 11 is no trit
//   base 3   5 trits a byte: the sum of (trit i + 1) 3^i; trits after the last are 0
//   planes   the nonzero plane, then the negative one, as the vectors have them, without padding
//
// Each row, and each plane, starts on a byte.

import { checkArray, checkNumber, checkOptions } from "../checks.ts";
import { TritterError, tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { checkPayload, headerCount, readContainer, writeContainer } from "./container.ts";
import { checkDim, DIM_MAX } from "./options.ts";

/** The formats of bytes. */
export type Format = "wire" | "base3" | "planes";

/** How many vectors of how many dimensions there are. */
export interface Rows {
  /** Number of vectors. */
  readonly count: number;
  /** Trits of one vector. */
  readonly dim: number;
}

/** Options of making hypervectors from numbers. */
export interface ThresholdOptions {
  /** Numbers of at most this magnitude become 0. Default: 0. */
  threshold?: number | undefined;
}

const COUNT_MAX = 2 ** 32 - 1;
const KIND = "Hypervectors";

/** Bytes of rows in a format. */
function bytesOf({ count, dim }: Rows, format: Format): number {
  if (format === "wire") return count * Math.ceil(dim / 4);
  return format === "base3" ? count * Math.ceil(dim / 5) : count * 2 * Math.ceil(dim / 8);
}

/** Checks that a result fits an array. */
export function checkLength(length: number, unit: string): void {
  if (length <= COUNT_MAX) return;
  throw tritterError(
    "invalid_length",
    `an array must have fewer than 2^32 elements, got ${length} ${unit}`,
  );
}

/** Checks an array of trits: what floats are at once, what bytes are where they are read. */
export function checkTrits(
  trits: Int8Array | Float32Array,
  name: string,
  length?: number,
): Int8Array | Float32Array {
  if (!(trits instanceof Float32Array)) return checkArray(trits, Int8Array, name, length);
  checkArray(trits, Float32Array, name, length);
  if (trits.length > 0) check(native.trits_check_f32(trits, trits.length));
  return trits;
}

/** Reads rows as signed bytes, into `out` where there is one. */
export function readTrits(
  handle: bigint,
  { count, dim }: Rows,
  out: Int8Array | undefined,
): Int8Array<ArrayBuffer> {
  const length = count * dim;
  checkLength(length, "trits");
  const trits = out === undefined
    ? new Int8Array(length)
    : checkArray(out, Int8Array, "out", length);
  check(native.vectors_read_i8(handle, 0, trits, trits.length));
  return trits as Int8Array<ArrayBuffer>;
}

/** Reads rows from `first` on in a format. */
export function readFormat(
  handle: bigint,
  format: Format,
  rows: Rows,
  first = 0,
): Uint8Array<ArrayBuffer> {
  const length = bytesOf(rows, format);
  checkLength(length, "bytes");
  const bytes = new Uint8Array(length);
  if (format === "wire") check(native.vectors_read_wire(handle, first, bytes, length));
  else if (format === "base3") check(native.vectors_read_base3(handle, first, bytes, length));
  else check(native.vectors_read_planes(handle, first, bytes, length));
  return bytes;
}

/** Writes rows from `first` on in a format. Planes that are none throw `invalid_format`. */
export function writeFormat(handle: bigint, format: Format, bytes: Uint8Array, first = 0): void {
  if (format === "wire") check(native.vectors_write_wire(handle, first, bytes, bytes.length));
  else if (format === "base3") {
    check(native.vectors_write_base3(handle, first, bytes, bytes.length));
  } else {
    try {
      check(native.vectors_write_planes(handle, first, bytes, bytes.length));
    } catch (error) {
      if (!(error instanceof TritterError) || error.code !== "invalid_value") throw error;
      throw tritterError("invalid_format", error.message, { cause: error });
    }
  }
}

/** Checks that bytes are as many as rows of a format take, before anything is allocated for them. */
export function checkBytes(bytes: Uint8Array, format: Format, rows: Rows): void {
  checkDim(rows.dim);
  checkArray(bytes, Uint8Array, "bytes", bytesOf(rows, format));
}

/** Reads the threshold of options. */
export function thresholdOf(options: ThresholdOptions | undefined): number {
  const { threshold = 0 } = checkOptions(options, "options");
  return checkNumber(threshold, "threshold", { min: 0 });
}

/** Rows in a container, with `count` and `dim` in its header and planes as payload. */
export function saveRows(handle: bigint, { count, dim }: Rows): Uint8Array<ArrayBuffer> {
  return writeContainer(KIND, { count, dim }, [readFormat(handle, "planes", { count, dim })]);
}

/** What `saveRows` wrote, checked but for the trits themselves. */
export function readSaved(
  bytes: Uint8Array,
  countMax: number = COUNT_MAX,
): Rows & { planes: Uint8Array } {
  const { header, payload } = readContainer(bytes, KIND);
  const count = headerCount(header, "count", { min: 1, max: countMax });
  const dim = headerCount(header, "dim", { min: 1, max: DIM_MAX });
  checkPayload(payload, bytesOf({ count, dim }, "planes"));
  return { count, dim, planes: payload };
}
