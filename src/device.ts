// Where the work runs: which device, which instruction set, how many threads.

import { checkCount } from "./checks.ts";
import { TritterError, tritterError } from "./errors.ts";
import { check, libraryPath, native } from "./native/library.ts";

/** A device by name: `"auto"` is the best one present, `"cuda"` the first CUDA device. */
export type Device = "cpu" | "cuda" | `cuda:${number}` | "auto";

/** Where something is: the CPU, or a CUDA device by its number. */
export type Place = "cpu" | `cuda:${number}`;

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
  /** The CUDA device in use, or else the first there is; absent where there is none. */
  cuda?: CudaInfo;
}

/** A CUDA device. */
export interface CudaInfo {
  /** Name of the device as options take it, like `"cuda:0"`. */
  device: string;
  /** Name of the product. */
  name: string;
  /** Compute capability, like `"9.0"`. */
  computeCapability: string;
  /** Memory of the device, in bytes. */
  memoryBytes: number;
  /** The CUDA version that the driver supports, like `"13.0"`. */
  driver: string;
  /** Memory that live tensors and weights hold, on all devices, in bytes. */
  allocatedBytes: number;
}

/** The most threads that the library can use. */
const THREADS_MAX = 255;

let chosen: Place | "auto" = "auto";

/** The devices by number, null for one without kernels, and why there are none. */
interface CudaFound {
  devices: (Omit<CudaInfo, "allocatedBytes"> | null)[];
  reason: string;
}

let found: CudaFound | undefined;

/** Looks for CUDA devices, once: they do not come and go. */
function findCuda(): CudaFound {
  if (found !== undefined) return found;
  const text = new Uint8Array(16384);
  const length = new Uint32Array(1);
  try {
    check(native.cuda_devices(text, text.length, length, 1));
    const described = JSON.parse(new TextDecoder().decode(text.subarray(0, length[0])));
    found = { devices: described, reason: "there is no CUDA device that the kernels run on" };
  } catch (error) {
    if (!(error instanceof TritterError) || error.code !== "device_unavailable") throw error;
    found = { devices: [], reason: error.message };
  }
  return found;
}

/** Returns the number of a CUDA device's name, which must be there. */
function cudaPlace(name: string): Place {
  const { devices, reason } = findCuda();
  const index = name === "cuda"
    ? devices.findIndex((device) => device !== null)
    : Number(name.slice("cuda:".length));
  if (devices[index]) return `cuda:${index}`;
  const usable = devices.flatMap((device) => device === null ? [] : [device.device]);
  const there = usable.length > 0 ? `there is ${usable.join(", ")}` : reason;
  throw tritterError("device_unavailable", `Device "${name}" is not available: ${there}`);
}

/**
 * Returns where a `device` option says; undefined means the choice of `setDevice`.
 *
 * "auto" gives the CPU for what starts there. Measured on an H100 next to 16 cores (bench/cuda.md): a
 * product whose input and result are on the CPU is faster on the GPU with weights that are there, from
 * 8 tokens of f32 or 14,336 x 4,096 weights of int8 on; but to bring the weights there takes as long
 * as tens or hundreds of them save, so no single operation wins. Asking for a CUDA device that is not
 * there is an error, never a silent fall back.
 */
export function placeOf(device?: Device): Place {
  const name: unknown = device === undefined ? chosen : device;
  if (name === "cpu" || name === "auto") return "cpu";
  if (typeof name === "string" && /^cuda(:\d+)?$/.test(name)) return cudaPlace(name);
  const given = typeof name === "string" ? JSON.stringify(name.slice(0, 64)) : typeof name;
  throw tritterError(
    "invalid_option",
    `device must be "auto", "cpu", "cuda" or "cuda:N", got ${given}`,
  );
}

/** Returns the number of a CUDA device. */
export function cudaIndex(place: Place): number {
  return Number(place.slice("cuda:".length));
}

/** Does the same for an operation that only the CPU has kernels for, and throws for another device. */
export function resolveDevice(device?: Device): "cpu" {
  const place = placeOf(device);
  if (place === "cpu") return place;
  throw tritterError(
    "unsupported",
    `This operation has no CUDA kernels: device must be "cpu", got "${place}"`,
  );
}

/** Returns the device of this name; here undefined is a mistake, not the choice of `setDevice`. */
export function namedPlace(device: Device): Place {
  if (device === undefined) {
    throw tritterError("invalid_option", "device must be a name, got undefined");
  }
  return placeOf(device);
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
  return placeOf(chosen);
}

/**
 * Chooses the device for calls that have no `device` option.
 *
 * Throws `device_unavailable` for a device that is not there, and keeps the choice before. With a
 * CUDA device chosen, operations that have no CUDA kernels throw `unsupported` unless they are told
 * `device: "cpu"`.
 *
 * @example
 * ```ts
 * import { setDevice } from "tritter-accel";
 *
 * setDevice("auto");
 * ```
 */
export function setDevice(device: Device): void {
  const place = namedPlace(device);
  chosen = device === "auto" ? "auto" : place;
}

/**
 * Returns true if a CUDA device can be used: an NVIDIA GPU of compute capability 8.0 or later, with
 * a driver that supports CUDA 13.
 *
 * @example
 * ```ts
 * import { cudaAvailable, setDevice } from "tritter-accel";
 *
 * setDevice(cudaAvailable() ? "cuda" : "cpu");
 * ```
 */
export function cudaAvailable(): boolean {
  return findCuda().devices.some((device) => device !== null);
}

/** The device in use or the first one, with what it holds now. */
function describeCuda(): CudaInfo | undefined {
  const { devices } = findCuda();
  const index = placeOf() === "cpu"
    ? devices.findIndex((device) => device !== null)
    : cudaIndex(placeOf());
  const device = devices[index];
  if (!device) return undefined;
  const allocated = new BigUint64Array(1);
  check(native.cuda_allocated_bytes(allocated, 1));
  return { ...device, allocatedBytes: Number(allocated[0]) };
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
  const cuda = describeCuda();
  const whole = { ...described, backend: "native", library: libraryPath };
  return cuda === undefined ? whole : { ...whole, cuda };
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
