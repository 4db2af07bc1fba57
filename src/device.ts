// Where the work runs: which device, which instruction set, how many threads.

import { checkCount } from "./checks.ts";
import { tritterError } from "./errors.ts";
import { check, libraryPath, native } from "./native/library.ts";

/** A device by name: `"auto"` is the best one present, `"cuda"` the first CUDA device. */
export type Device = "cpu" | "cuda" | `cuda:${number}` | "auto";

/** An instruction-set tier that the library has kernels for. */
export type Isa = "avx512" | "avx2" | "x86_64" | "neon" | "aarch64";

/** What `info` returns. */
export interface LibraryInfo {
  /** Version of the native library, the same as `version()`. */
  version: string;
  /** Fingerprint of the library's C ABI, hexadecimal. */
  abi: string;
  /** How the library runs: machine code, never an emulation in JavaScript. */
  backend: "native";
  /** The instruction-set tier in use. */
  isa: Isa;
  /** Every tier that this machine can run, best first. */
  isas: Isa[];
  /** Threads that a call may use. */
  threads: number;
  /** Physical CPU cores. */
  cores: number;
  /** Operating system that the library was built for. */
  os: string;
  /** Architecture that the library was built for. */
  arch: string;
  /** Native objects alive now (packed weights, caches, models). */
  handles: number;
  /** Memory that those objects hold, in bytes. */
  allocatedBytes: number;
  /** Path of the library file that was loaded. */
  library: string;
  /** The CUDA device in use; absent in this build, which has no CUDA kernels. */
  cuda?: {
    /** Name of the device as options take it, like `"cuda:0"`. */
    device: string;
    /** Name of the product. */
    name: string;
    /** Compute capability, like `"9.0"`. */
    computeCapability: string;
    /** Memory of the device, in bytes. */
    memoryBytes: number;
    /** Version of the driver. */
    driver: string;
  };
}

/** The most threads that the library can use. */
const THREADS_MAX = 255;

let chosen: "cpu" | "auto" = "auto";

/**
 * Returns the device to use for a `device` option; undefined means the choice of `setDevice`.
 *
 * "auto" gives the CPU, because this build has no CUDA kernels; asking for CUDA by name is an
 * error, never a silent fall back.
 */
export function resolveDevice(device?: Device): "cpu" {
  const name: unknown = device === undefined ? chosen : device;
  if (name === "cpu" || name === "auto") return "cpu";
  if (typeof name === "string" && /^cuda(:\d+)?$/.test(name)) {
    throw tritterError(
      "device_unavailable",
      `Device "${name}" is not available: this build has no CUDA kernels`,
    );
  }
  const given = typeof name === "string" ? JSON.stringify(name.slice(0, 64)) : typeof name;
  throw tritterError(
    "invalid_option",
    `device must be "auto", "cpu", "cuda" or "cuda:N", got ${given}`,
  );
}

/** Returns the device of this name; here undefined is a mistake, not the choice of `setDevice`. */
export function namedDevice(device: Device): "cpu" {
  if (device === undefined) {
    throw tritterError("invalid_option", "device must be a name, got undefined");
  }
  return resolveDevice(device);
}

/**
 * Returns the device that calls without a `device` option use: `"cpu"` or `"cuda:N"`.
 *
 * @example
 * ```ts
 * import { getDevice } from "tritter-accel";
 *
 * console.log(getDevice()); // cpu
 * ```
 */
export function getDevice(): string {
  return resolveDevice(chosen);
}

/**
 * Chooses the device for calls that have no `device` option.
 *
 * Throws `device_unavailable` for a device that is not there, and keeps the choice before.
 *
 * @example
 * ```ts
 * import { setDevice } from "tritter-accel";
 *
 * setDevice("auto");
 * ```
 */
export function setDevice(device: Device): void {
  namedDevice(device);
  chosen = device as "cpu" | "auto";
}

/**
 * Returns true if a CUDA device can be used. False in this build, which has no CUDA kernels.
 *
 * @example
 * ```ts
 * import { cudaAvailable, setDevice } from "tritter-accel";
 *
 * setDevice(cudaAvailable() ? "cuda" : "cpu");
 * ```
 */
export function cudaAvailable(): boolean {
  return false;
}

/**
 * Returns what the native library says about itself and the machine it runs on.
 *
 * @example
 * ```ts
 * import { info } from "tritter-accel";
 *
 * const { isa, threads } = info();
 * console.log(`${isa}, ${threads} threads`);
 * ```
 */
export function info(): LibraryInfo {
  const text = new Uint8Array(4096);
  const length = new Uint32Array(1);
  check(native.info(text, text.length, length, 1));
  const described = JSON.parse(new TextDecoder().decode(text.subarray(0, length[0])));
  return { ...described, backend: "native", library: libraryPath };
}

/**
 * Returns the version of the library, like `"0.1.0"`.
 *
 * @example
 * ```ts
 * import { version } from "tritter-accel";
 *
 * console.log(version());
 * ```
 */
export function version(): string {
  return info().version;
}

/**
 * Sets how many threads a call may use, from 1 to 255; the start is one per physical core.
 *
 * Results do not depend on it.
 *
 * @example
 * ```ts
 * import { getThreads, setThreads } from "tritter-accel";
 *
 * const before = getThreads();
 * setThreads(1);
 * setThreads(before);
 * ```
 */
export function setThreads(threads: number): void {
  check(native.set_threads(checkCount(threads, "threads", { min: 1, max: THREADS_MAX })));
}

/**
 * Returns how many threads a call may use.
 *
 * @example
 * ```ts
 * import { getThreads } from "tritter-accel";
 *
 * console.log(getThreads());
 * ```
 */
export function getThreads(): number {
  const threads = new Uint32Array(1);
  check(native.get_threads(threads, 1));
  return threads[0]!;
}

/**
 * Forces an instruction-set tier, as the environment variable `TRITTER_FORCE_ISA` does.
 *
 * For measuring and testing: results are the same on every tier. `info().isas` lists the tiers
 * that this machine can run; any other throws `invalid_option` or `unsupported`.
 *
 * @example
 * ```ts
 * import { info, setIsa } from "tritter-accel";
 *
 * const best = info().isas[0]!;
 * setIsa(best);
 * ```
 */
export function setIsa(name: Isa): void {
  if (typeof name !== "string") {
    throw tritterError("invalid_type", `name must be a string, got ${typeof name}`);
  }
  const bytes = new TextEncoder().encode(name);
  check(native.set_isa(bytes, bytes.length));
}
