// A file mapped into memory by the native library: no JavaScript buffer ever holds the whole of it,
// so a file larger than a typed array can be read, and reading needs no permission beyond FFI.

import { fileURLToPath } from "node:url";
import { tritterError } from "../errors.ts";
import { check, native, NativeHandle } from "../native/library.ts";

const LARGEST_READ = 2 ** 32 - 1;

/** Returns the path that a string or a `file:` URL names. */
export function filePath(path: string | URL, name: string): string {
  if (path instanceof URL || (typeof path === "string" && path.startsWith("file://"))) {
    try {
      return fileURLToPath(path);
    } catch (cause) {
      throw tritterError("invalid_value", `${name} must be a file: URL, got ${path}`, { cause });
    }
  }
  if (typeof path !== "string") {
    throw tritterError("invalid_type", `${name} must be a string or a URL, got ${typeof path}`);
  }
  if (path === "" || path.includes("\0")) {
    throw tritterError("invalid_value", `${name} must be a path, got ${JSON.stringify(path)}`);
  }
  return path;
}

/** Joins a directory and the name of a file in it. */
export function joinPath(directory: string, file: string): string {
  return /[/\\]$/.test(directory) ? directory + file : `${directory}/${file}`;
}

/** A file mapped for reading. */
export class MappedFile {
  /** The path that was opened. */
  readonly path: string;
  /** Size in bytes. */
  readonly size: number;
  #handle: NativeHandle;

  /** Maps a file; throws `io` if there is none or it cannot be mapped. */
  constructor(path: string | URL) {
    this.path = filePath(path, "path");
    const bytes = new TextEncoder().encode(this.path);
    const handle = new BigUint64Array(1);
    const size = new BigUint64Array(1);
    check(native.file_map(bytes, bytes.length, handle, 1, size, 1));
    this.#handle = new NativeHandle(handle[0]!);
    this.size = Number(size[0]);
  }

  /** The native handle, for functions that read the mapping themselves. */
  get handle(): bigint {
    return this.#handle.value;
  }

  /** Returns a copy of a range of bytes. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    if (length > LARGEST_READ) {
      throw tritterError(
        "invalid_length",
        `A read must be at most ${LARGEST_READ} bytes, got ${length}`,
      );
    }
    const bytes = new Uint8Array(length);
    if (length > 0) check(native.file_read(this.handle, BigInt(offset), bytes, length));
    return bytes;
  }

  /** Unmaps the file; more calls do nothing. */
  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
  }
}

/** Reads a whole UTF-8 text file; throws `invalid_format` if it is larger than `limit` bytes. */
export function readText(path: string, limit: number = 2 ** 28): string {
  using file = new MappedFile(path);
  if (file.size > limit) {
    throw tritterError(
      "invalid_format",
      `${path} must be at most ${limit} bytes, got ${file.size}`,
    );
  }
  const bytes = file.read(0, file.size);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw tritterError("invalid_format", `${path} must be UTF-8`, { cause });
  }
}

/** Reads a JSON file that holds one object. */
export function readJsonObject(path: string): Record<string, unknown> {
  const text = readText(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw tritterError("invalid_format", `${path} must be JSON`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw tritterError("invalid_format", `${path} must hold a JSON object`);
  }
  return value as Record<string, unknown>;
}
