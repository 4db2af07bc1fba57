// Writes safetensors files: https://github.com/huggingface/safetensors#format

import { checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { writeAtomically } from "./atomic_file.ts";
import { toBf16, toF16 } from "./half.ts";
import { filePath } from "./mapped_file.ts";
import { DTYPE_BITS, LARGEST_HEADER, type SafetensorsDtype } from "./safetensors_header.ts";

/** A tensor to write. */
export interface SafetensorsTensor {
  /** Sizes, row-major; empty for a scalar. */
  readonly shape: readonly number[];
  /** The elements, row-major; types without an array of their own as `Safetensors.read` returns them. */
  readonly data: SafetensorsData;
  /**
   * Element type in the file; default: that of the array. Float32 data may become F16 or BF16: each
   * number is rounded to the nearest, ties to even.
   */
  readonly dtype?: SafetensorsDtype | undefined;
}

/** The arrays that `writeSafetensors` takes. */
export type SafetensorsData =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

/** Options of `writeSafetensors`. */
export interface WriteSafetensorsOptions {
  /** Strings for the header's `__metadata__`; transformers wants `{ format: "pt" }` there. */
  metadata?: Readonly<Record<string, string>> | undefined;
}

/** What each kind of array may be in a file, the default first. */
const DTYPES: Readonly<Record<string, readonly SafetensorsDtype[]>> = {
  Float64Array: ["F64"],
  Float32Array: ["F32", "F16", "BF16", "C64"],
  BigInt64Array: ["I64"],
  BigUint64Array: ["U64"],
  Int32Array: ["I32"],
  Uint32Array: ["U32"],
  Int16Array: ["I16"],
  Uint16Array: ["U16", "F16", "BF16"],
  Int8Array: ["I8"],
  Uint8Array: ["U8", "BOOL", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F6_E2M3", "F6_E3M2", "F4"],
};

/** A tensor that was checked, with its place after the header. */
interface Entry {
  name: string;
  dtype: SafetensorsDtype;
  shape: readonly number[];
  data: SafetensorsData;
  sizeBytes: number;
}

/**
 * Writes tensors to a safetensors file, as a whole or not at all.
 *
 * The bytes go to a temporary file beside `path`, are forced to the disk and only then take the name,
 * so whatever happens meanwhile, `path` holds the new file or the old one; a process that is killed may
 * leave a file that ends in `.part`. Tensors are laid out as Hugging Face's writer does: by the width
 * of their elements, widest first, then by name. Throws `io` if the file cannot be written, and the
 * usual errors for arrays that do not fit their shape or type.
 *
 * @example
 * ```ts
 * import { mkdtempSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join } from "node:path";
 * import { Safetensors, writeSafetensors } from "tritter-accel";
 *
 * const path = join(mkdtempSync(join(tmpdir(), "tritter-")), "two.safetensors");
 * writeSafetensors(path, {
 *   weight: { shape: [2, 2], data: Float32Array.of(1, 2, 3, 4), dtype: "BF16" },
 *   steps: { shape: [], data: Int32Array.of(7) },
 * });
 * using file = Safetensors.open(path);
 * console.log(file.readFloat32("weight")); // 1 2 3 4
 * ```
 */
export function writeSafetensors(
  path: string | URL,
  tensors: Readonly<Record<string, SafetensorsTensor>> | ReadonlyMap<string, SafetensorsTensor>,
  options?: WriteSafetensorsOptions,
): void {
  const target = filePath(path, "path");
  const { metadata } = checkOptions(options, "options");
  if (typeof tensors !== "object" || tensors === null) {
    throw tritterError("invalid_type", `tensors must be an object, got ${describe(tensors)}`);
  }
  const given = tensors instanceof Map ? [...tensors] : Object.entries(tensors);
  const entries = given.map(([name, tensor]) => checkTensor(name, tensor)).sort(inFileOrder);
  const header = encodeHeader(entries, metadata);
  writeAtomically(target, pieces(header, entries));
}

function* pieces(header: Uint8Array, entries: readonly Entry[]): Iterable<Uint8Array> {
  yield header;
  for (const { data, dtype } of entries) {
    const stored = data instanceof Float32Array && dtype === "F16"
      ? toF16(data)
      : data instanceof Float32Array && dtype === "BF16"
      ? toBf16(data)
      : data;
    yield new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
  }
}

/** Wide elements first keeps every tensor aligned to its own width. */
function inFileOrder(a: Entry, b: Entry): number {
  return DTYPE_BITS[b.dtype] - DTYPE_BITS[a.dtype] || (a.name < b.name ? -1 : 1);
}

function checkTensor(name: string, tensor: SafetensorsTensor): Entry {
  if (name === "__metadata__" || !name.isWellFormed()) {
    throw tritterError(
      "invalid_value",
      `A tensor's name must be Unicode and not "__metadata__", got ${JSON.stringify(name)}`,
    );
  }
  const what = `Tensor ${JSON.stringify(name)}`;
  const { shape, data, dtype: wanted } = tensor ?? {};
  // What the engine calls it: a subclass or an object that pretends has no place in a file.
  const kind = ArrayBuffer.isView(data) ? Object.prototype.toString.call(data).slice(8, -1) : "";
  const dtypes = DTYPES[kind];
  if (dtypes === undefined) {
    throw tritterError(
      "invalid_type",
      `${what}: data must be a typed array, got ${describe(data)}`,
    );
  }
  const dtype = wanted ?? dtypes[0]!;
  if (!dtypes.includes(dtype)) {
    throw tritterError(
      "invalid_option",
      `${what}: dtype of a ${kind} must be ${dtypes.join(" or ")}, got ${describe(wanted)}`,
    );
  }
  const elements = countElements(shape, what);
  const bits = elements * DTYPE_BITS[dtype];
  const perElement = dtype === "C64" ? 2 : 1;
  const length = DTYPE_BITS[dtype] < 8 ? bits / 8 : elements * perElement;
  if (data.length !== length) {
    throw tritterError(
      "invalid_length",
      `${what}: data must have ${length} elements for the shape [${
        shape.join(", ")
      }], got ${data.length}`,
    );
  }
  return { name, dtype, shape: [...shape], data, sizeBytes: bits / 8 };
}

function countElements(shape: unknown, what: string): number {
  const valid = Array.isArray(shape) &&
    shape.every((size) => Number.isSafeInteger(size) && size >= 0);
  const elements = valid ? (shape as number[]).reduce((product, size) => product * size, 1) : NaN;
  // The size in bits has to be exact as well.
  if (Number.isSafeInteger(elements * 64)) return elements;
  throw tritterError(
    "invalid_shape",
    `${what}: shape must be an array of sizes, got ${
      Array.isArray(shape) ? `[${shape.join(", ")}]`.slice(0, 100) : describe(shape)
    }`,
  );
}

/** Length, JSON and spaces up to a multiple of 8 bytes, as the reference implementation writes it. */
function encodeHeader(
  entries: readonly Entry[],
  metadata: Readonly<Record<string, string>> | undefined,
): Uint8Array {
  const fields: string[] = [];
  // Written piece by piece: an object would lose a tensor that is called __proto__.
  const field = (name: string, value: unknown) =>
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
  if (metadata !== undefined) field("__metadata__", checkMetadata(metadata));
  let position = 0;
  for (const { name, dtype, shape, sizeBytes } of entries) {
    field(name, { dtype, shape, data_offsets: [position, position += sizeBytes] });
  }
  const json = new TextEncoder().encode(`{${fields.join(",")}}`);
  const length = Math.ceil(json.length / 8) * 8;
  if (length > LARGEST_HEADER) {
    throw tritterError(
      "invalid_length",
      `The names and shapes must fit a header of ${LARGEST_HEADER} bytes, got ${length}`,
    );
  }
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return header;
}

function checkMetadata(metadata: Readonly<Record<string, string>>): Record<string, string> {
  for (const [key, value] of Object.entries(checkOptions(metadata, "metadata"))) {
    if (typeof value === "string" && value.isWellFormed() && key.isWellFormed()) continue;
    throw tritterError(
      "invalid_type",
      `metadata.${key} must be a string of Unicode, got ${describe(value)}`,
    );
  }
  return metadata;
}
