/**
 * The native library as an object: one method per function, errors, and handles that free themselves.
 *
 * @module
 */
import { tritterError, type TritterErrorCode } from "../errors.ts";
import { bunRuntime } from "./bun.ts";
import { denoRuntime } from "./deno.ts";
import { type OpenedLibrary, openLocal, openRemote } from "./locate.ts";
import type { Runtime } from "./runtime.ts";
import type { NativeLibrary } from "./symbols.ts";

export type { NativeLibrary } from "./symbols.ts";

/** The statuses of the library, in its own order: -1, -2 and so on. */
const CODES: readonly TritterErrorCode[] = [
  "invalid_type",
  "invalid_shape",
  "invalid_length",
  "invalid_value",
  "invalid_option",
  "disposed",
  "out_of_memory",
  "io",
  "invalid_format",
  "unsupported",
  "device_unavailable",
  "cache_full",
  "timeout",
  "library_unavailable",
];

function currentRuntime(): Runtime {
  const globals = globalThis as { Deno?: Parameters<typeof denoRuntime>[0]; Bun?: unknown };
  if (globals.Deno?.dlopen) return denoRuntime(globals.Deno);
  if (globals.Bun) return bunRuntime();
  throw tritterError(
    "library_unavailable",
    "The native library can be loaded by Deno and by Bun only",
  );
}

/** Stands in for a library that could not be opened: importing never fails, the first call does. */
function missingLibrary(cause: unknown): OpenedLibrary {
  const message = cause instanceof Error ? cause.message : String(cause);
  const refuse = (): never => {
    throw tritterError("library_unavailable", message);
  };
  return { library: new Proxy({}, { get: () => refuse }) as NativeLibrary, path: "" };
}

async function openRemoteLibrary(root: URL): Promise<OpenedLibrary> {
  try {
    return await openRemote(currentRuntime(), root);
  } catch (error) {
    return missingLibrary(error);
  }
}

function openLocalLibrary(root: URL): OpenedLibrary {
  try {
    return openLocal(currentRuntime(), root);
  } catch (error) {
    return missingLibrary(error);
  }
}

// The JavaScript of the npm package lies one folder deeper, in dist/.
const root = new URL(import.meta.url.endsWith(".js") ? "../../../" : "../../", import.meta.url);
const opened: OpenedLibrary = /^https?:$/.test(root.protocol)
  ? await openRemoteLibrary(root)
  : openLocalLibrary(root);

/** The functions of the library; each returns a status that belongs into {@linkcode check}. */
export const native: NativeLibrary = opened.library;

/** Path of the library file in use, empty when none could be opened. */
export const libraryPath: string = opened.path;

const errorText = new Uint8Array(4096);
const errorLength = new Uint32Array(1);
const decoder = new TextDecoder();

/** Throws what the library reports for a status that is not zero. */
export function check(status: number): void {
  if (status === 0) return;
  const code = CODES[-status - 1] ?? "internal";
  const known = native.last_error(errorText, errorText.length, errorLength, 1) === 0;
  const message = known ? decoder.decode(errorText.subarray(0, errorLength[0])) : "";
  throw tritterError(code, message || `The native library reports status ${status}`);
}

const registry = new FinalizationRegistry<bigint>((value) => {
  native.free(value);
});

/** A native object: freed when disposed, or some time after its last use. */
export class NativeHandle {
  #value: bigint;
  readonly #kind: string;

  /** Takes over a handle; `kind` is what messages call it, as in "The cache". */
  constructor(value: bigint, kind = "The object") {
    // The classes above have constructors that only TypeScript hides; a wrong value would fail
    // unseen, when the garbage collector hands it over for freeing.
    if (typeof value !== "bigint") {
      throw tritterError("invalid_type", `A native handle must be a bigint, got ${typeof value}`);
    }
    this.#value = value;
    this.#kind = kind;
    registry.register(this, value, this);
  }

  /** The number that the library knows the object by. */
  get value(): bigint {
    if (this.#value === 0n) throw tritterError("disposed", `${this.#kind} has been disposed`);
    return this.#value;
  }

  /** Whether the object is gone. */
  get disposed(): boolean {
    return this.#value === 0n;
  }

  /** Frees the object; doing so again does nothing. */
  dispose(): void {
    if (this.#value === 0n) return;
    const value = this.#value;
    this.#value = 0n;
    registry.unregister(this);
    check(native.free(value));
  }

  /** Frees the object at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
