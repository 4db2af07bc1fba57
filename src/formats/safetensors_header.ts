// The header of a safetensors file: u64 length, then JSON that says where each tensor lies. Every
// claim in it is checked here, so that whatever reads the data afterwards can trust the numbers.

import { tritterError } from "../errors.ts";

/** Element type of a tensor in a safetensors file, spelled as the file spells it. */
export type SafetensorsDtype =
  | "BOOL"
  | "U8"
  | "I8"
  | "U16"
  | "I16"
  | "F16"
  | "BF16"
  | "U32"
  | "I32"
  | "F32"
  | "U64"
  | "I64"
  | "F64"
  | "C64"
  | "F8_E5M2"
  | "F8_E4M3"
  | "F8_E8M0"
  | "F6_E2M3"
  | "F6_E3M2"
  | "F4";

/** Bits per element; some types are narrower than a byte. */
export const DTYPE_BITS: Readonly<Record<SafetensorsDtype, number>> = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  U16: 16,
  I16: 16,
  F16: 16,
  BF16: 16,
  U32: 32,
  I32: 32,
  F32: 32,
  U64: 64,
  I64: 64,
  F64: 64,
  C64: 64,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F4: 4,
};

/** Where a tensor lies in a safetensors file. */
export interface SafetensorsInfo {
  /** Element type. */
  readonly dtype: SafetensorsDtype;
  /** Sizes, row-major; empty for a scalar. */
  readonly shape: readonly number[];
  /** Offset of the first byte from the start of the file. */
  readonly offsetBytes: number;
  /** Size in bytes. */
  readonly sizeBytes: number;
}

/** What a header says. */
export interface SafetensorsHeader {
  /** The tensors by name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, SafetensorsInfo>;
  /** The free-form strings of `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** The limit that the format's reference implementation sets. */
export const LARGEST_HEADER = 100_000_000;

/** Parses the JSON of a header; `fileSize` is that of the file, the data begins at 8 + JSON. */
export function parseHeader(json: Uint8Array, fileSize: number, path: string): SafetensorsHeader {
  const fail = (message: string, cause?: unknown) =>
    tritterError(
      "invalid_format",
      `${path}: ${message}`,
      cause === undefined ? undefined : { cause },
    );
  let text: string;
  let parsed: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
  } catch (cause) {
    throw fail("The header must be UTF-8", cause);
  }
  if (text[0] !== "{") throw fail("The header must begin with {");
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw fail("The header must be JSON", cause);
  }
  const header = parsed as Record<string, unknown>;
  const names = Object.keys(header);
  const metadata = new Map<string, string>();
  const tensors = new Map<string, SafetensorsInfo>();
  const dataStart = 8 + json.length;
  let keys = names.length;
  for (const name of names) {
    const entry = header[name];
    if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
      throw fail(`Entry ${quote(name)} must be an object`);
    }
    keys += Object.keys(entry).length;
    if (name === "__metadata__") {
      for (const [key, value] of Object.entries(entry)) {
        if (typeof value !== "string") throw fail(`Metadata ${quote(key)} must be a string`);
        metadata.set(key, value);
      }
    } else {
      tensors.set(name, parseEntry(name, entry, dataStart, fileSize - dataStart, fail));
    }
  }
  if (countKeys(text) !== keys) throw fail("The header must not name anything twice");
  checkLayout(tensors, dataStart, fileSize, fail);
  return { tensors, metadata };
}

function quote(name: string): string {
  return JSON.stringify(name.length > 100 ? name.slice(0, 100) + "…" : name);
}

function parseEntry(
  name: string,
  entry: object,
  dataStart: number,
  dataSize: number,
  fail: (message: string) => Error,
): SafetensorsInfo {
  const { dtype, shape, data_offsets: offsets } = entry as Record<string, unknown>;
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPE_BITS, dtype)) {
    throw fail(`Tensor ${quote(name)} must have a known dtype, got ${quote(String(dtype))}`);
  }
  if (!isCounts(shape)) {
    throw fail(`Tensor ${quote(name)} must have a shape of whole numbers from 0 up`);
  }
  let bits = DTYPE_BITS[dtype as SafetensorsDtype];
  for (const size of shape) bits *= size;
  if (!Number.isSafeInteger(bits) || bits % 8 !== 0) {
    throw fail(`Tensor ${quote(name)} must have a size of whole bytes, below 2^50`);
  }
  if (!isCounts(offsets) || offsets.length !== 2) {
    throw fail(`Tensor ${quote(name)} must have two data_offsets, whole numbers from 0 up`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataSize) {
    throw fail(
      `Tensor ${quote(name)} must lie within the ${dataSize} bytes of data, got ${begin} to ${end}`,
    );
  }
  if (end - begin !== bits / 8) {
    throw fail(
      `Tensor ${quote(name)} of dtype ${dtype} and shape [${shape.join(", ")}] must have ${
        bits / 8
      } bytes, got ${end - begin}`,
    );
  }
  return {
    dtype: dtype as SafetensorsDtype,
    shape: Object.freeze([...shape]),
    offsetBytes: dataStart + begin,
    sizeBytes: end - begin,
  };
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

/** The format allows neither overlaps nor holes nor trailing bytes. */
function checkLayout(
  tensors: Map<string, SafetensorsInfo>,
  dataStart: number,
  fileSize: number,
  fail: (message: string) => Error,
): void {
  const sorted = [...tensors].sort(([, a], [, b]) =>
    a.offsetBytes - b.offsetBytes || a.sizeBytes - b.sizeBytes
  );
  let position = dataStart;
  for (const [name, info] of sorted) {
    if (info.offsetBytes !== position) {
      const what = info.offsetBytes < position ? "overlaps" : "leaves a hole after";
      throw fail(`Tensor ${quote(name)} ${what} the tensor before it`);
    }
    position += info.sizeBytes;
  }
  if (position !== fileSize) {
    throw fail(`The file must end after the last tensor at ${position} bytes, got ${fileSize}`);
  }
}

/**
 * Counts the keys of the outer object and of the objects right inside it, as written: JSON.parse
 * keeps the last of two equal names and says nothing. The text is known to be valid JSON.
 */
function countKeys(text: string): number {
  let keys = 0;
  let depth = 0;
  for (let index = 0; index < text.length; index += 1) {
    switch (text.charCodeAt(index)) {
      case 0x22: // A string: skip to its end.
        for (index += 1; text.charCodeAt(index) !== 0x22; index += 1) {
          if (text.charCodeAt(index) === 0x5c) index += 1;
        }
        break;
      case 0x3a:
        if (depth <= 2) keys += 1;
        break;
      case 0x7b:
      case 0x5b:
        depth += 1;
        break;
      case 0x7d:
      case 0x5d:
        depth -= 1;
        break;
    }
  }
  return keys;
}
