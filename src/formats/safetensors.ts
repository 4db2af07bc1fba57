// Reads safetensors files: https://github.com/huggingface/safetensors#format

import { describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { fromBf16, fromF16 } from "./half.ts";
import { MappedFile } from "./mapped_file.ts";
import {
  LARGEST_HEADER,
  parseHeader,
  type SafetensorsDtype,
  type SafetensorsHeader,
  type SafetensorsInfo,
} from "./safetensors_header.ts";

export type { SafetensorsDtype, SafetensorsInfo } from "./safetensors_header.ts";

/** The typed arrays that `Safetensors.read` returns. */
export type SafetensorsArray =
  | Float64Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>
  | BigUint64Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>;

/** Types that JavaScript has no array for come as the bits: 16-bit floats as u16, the rest as bytes. */
const ARRAYS: Partial<Record<SafetensorsDtype, new (buffer: ArrayBuffer) => SafetensorsArray>> = {
  F64: Float64Array,
  F32: Float32Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I8: Int8Array,
};

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("Safetensors");

let handleOf: (file: Safetensors) => bigint;

/** Returns the native handle of the mapping; for the model loader, not for users. */
export function safetensorsHandle(file: Safetensors): bigint {
  return handleOf(file);
}

/**
 * A safetensors file, mapped into memory: only the header and the tensors asked for are read.
 *
 * Files of any size open, also those larger than an `ArrayBuffer`. The header is checked as a whole
 * (sizes, offsets, overlaps, holes, duplicate names), so a damaged or hostile file gives the error
 * `invalid_format`, and one that cannot be opened `io`. Follows
 * [the format's description](https://github.com/huggingface/safetensors#format).
 *
 * While it is open, nobody may change or truncate the file: reads would return the changed bytes, and
 * reading behind a new end kills the process. Renaming another file over it is safe.
 *
 * @example
 * ```ts
 * import { Safetensors } from "tritter-accel";
 *
 * using file = Safetensors.open("examples/models/bitnet-jargon/model.safetensors");
 * console.log(file.tensor("model.norm.weight")); // { dtype: "BF16", shape: [ 320 ], ... }
 * console.log(file.readFloat32("model.norm.weight")[0]);
 * ```
 */
export class Safetensors {
  static {
    handleOf = (file) => file.#file.handle;
  }

  /** The strings of the header's `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
  #file: MappedFile;
  #tensors: ReadonlyMap<string, SafetensorsInfo>;

  private constructor(key: symbol, file: MappedFile, header: SafetensorsHeader) {
    if (key !== KEY) throw tritterError("invalid_type", "Safetensors is made by Safetensors.open");
    this.#file = file;
    this.#tensors = header.tensors;
    this.metadata = header.metadata;
  }

  /**
   * Opens a file.
   *
   * Throws `io` for a file that cannot be mapped and `invalid_format` for one that breaks the format.
   *
   * @example
   * ```ts
   * import { Safetensors } from "tritter-accel";
   *
   * using file = Safetensors.open("examples/models/bitnet-jargon/model.safetensors");
   * console.log(file.names.length); // 110
   * ```
   */
  static open(path: string | URL): Safetensors {
    const file = new MappedFile(path);
    try {
      if (file.size < 8) {
        throw tritterError(
          "invalid_format",
          `${file.path}: The file must have at least 8 bytes, got ${file.size}`,
        );
      }
      const length = new DataView(file.read(0, 8).buffer).getBigUint64(0, true);
      if (length > BigInt(Math.min(LARGEST_HEADER, file.size - 8))) {
        throw tritterError(
          "invalid_format",
          `${file.path}: The header must fit the file of ${file.size} bytes and have at most ${LARGEST_HEADER} bytes, got ${length}`,
        );
      }
      return new Safetensors(
        KEY,
        file,
        parseHeader(file.read(8, Number(length)), file.size, file.path),
      );
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
  }

  /** The path that was opened. */
  get path(): string {
    return this.#file.path;
  }

  /** The names of the tensors, in the order of the header. */
  get names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** Returns true if the file has a tensor of this name. */
  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** Returns dtype, shape and place of a tensor; throws `invalid_value` for an unknown name. */
  tensor(name: string): SafetensorsInfo {
    const info = this.#tensors.get(name);
    if (info === undefined) {
      throw tritterError("invalid_value", `${this.path} has no tensor ${describe(name)}`);
    }
    return info;
  }

  /**
   * Returns a copy of a tensor's elements, row-major.
   *
   * F16 and BF16 come as their bits in a `Uint16Array`, types narrower than a byte, BOOL and 8-bit
   * floats as bytes. Tensors of 4 GiB or more cannot be read in one piece: `invalid_length`.
   */
  read(name: string): SafetensorsArray {
    const { dtype, offsetBytes, sizeBytes } = this.tensor(name);
    const bytes = this.#file.read(offsetBytes, sizeBytes);
    const type = dtype === "C64" ? Float32Array : ARRAYS[dtype];
    return type === undefined ? bytes : new type(bytes.buffer);
  }

  /**
   * Returns a copy of a tensor of F32, F16 or BF16 elements as float32, which holds each exactly.
   *
   * Other types throw `unsupported`. `start` and `count` choose a range of elements.
   */
  readFloat32(name: string, start = 0, count?: number): Float32Array<ArrayBuffer> {
    const { dtype, offsetBytes, sizeBytes } = this.tensor(name);
    if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") {
      throw tritterError(
        "unsupported",
        `Tensor ${
          JSON.stringify(name)
        } must be F32, F16 or BF16 to be read as float32, got ${dtype}`,
      );
    }
    const width = dtype === "F32" ? 4 : 2;
    const elements = sizeBytes / width;
    const wanted = count ?? (typeof start === "number" ? elements - start : 0);
    if (
      !(Number.isSafeInteger(start) && start >= 0 && Number.isSafeInteger(wanted)) ||
      wanted < 0 || start + wanted > elements
    ) {
      throw tritterError(
        "invalid_value",
        `The range must lie within the ${elements} elements of ${JSON.stringify(name)}, got ${
          describe(start)
        } and ${describe(wanted)}`,
      );
    }
    const buffer = this.#file.read(offsetBytes + start * width, wanted * width).buffer;
    if (dtype === "F32") return new Float32Array(buffer);
    const bits = new Uint16Array(buffer);
    return dtype === "F16" ? fromF16(bits) : fromBf16(bits);
  }

  /** Unmaps the file; more calls do nothing, other methods that read throw `disposed`. */
  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}
