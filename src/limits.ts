// What the machine can do at most, measured by the native library.

import { checkChoice, checkCount, checkOptions } from "./checks.ts";
import { getThreads } from "./device.ts";
import { tritterError } from "./errors.ts";
import { check, native } from "./native/library.ts";

/**
 * What can be measured: `"read"` of memory, int8 dot products (`"dot"`) by the instructions that the
 * int8 products use, f32 multiply-adds (`"multiplyAdd"`) and f32 additions (`"add"`).
 */
export type LimitKind = "read" | "dot" | "multiplyAdd" | "add";

/** Which limit is measured, and how. */
export interface MeasureLimitsOptions {
  /** Reading memory, or one kind of arithmetic. */
  kind: LimitKind;
  /**
   * Bytes that all threads read together, from 1024 for each thread to 2^30, for `"read"` alone:
   * 4 MiB by default. What fits a cache is read from there.
   */
  sizeBytes?: number | undefined;
  /** How long to measure, in milliseconds, from 1 to 1000: 20 by default. */
  durationMs?: number | undefined;
}

/** What `measureLimits` returns: `"read"` in bytes a second, the others in operations a second. */
export interface Limit {
  /** The median over 25 equal parts of the time. */
  median: number;
  /** The best of these parts. */
  best: number;
}

/** In the library's order. */
const KINDS: readonly LimitKind[] = ["read", "dot", "multiplyAdd", "add"];

const SIZE_BYTES_MAX = 2 ** 30;
const DURATION_MS_MAX = 1000;
const READ_BYTES_MIN = 1024;

/**
 * Measures a limit of this machine with the current number of threads and instruction-set tier.
 *
 * A multiply-add counts as two operations. All threads run the same loop at the same time, and
 * nothing but the memory or the instruction limits it; compare what a kernel reaches with it in the
 * same minute, because shared machines and their clocks change. Throws `invalid_value` for sizes and
 * durations out of range, `invalid_option` for an unknown kind, `out_of_memory`, and `unsupported`
 * where the system does not run all threads at the same time.
 *
 * @example
 * ```ts
 * import { measureLimits } from "tritter-accel";
 *
 * const { median } = measureLimits({ kind: "read", sizeBytes: 2 ** 20 });
 * console.log(`${(median / 1e9).toFixed(0)} GB/s`);
 * ```
 */
export function measureLimits(options: MeasureLimitsOptions): Limit {
  if (options === undefined) {
    throw tritterError("invalid_type", "options must be an object, got undefined");
  }
  const { kind, sizeBytes = 2 ** 22, durationMs = 20 } = checkOptions(options, "options");
  if (kind === undefined) {
    throw tritterError("invalid_option", "kind must be a name, got undefined");
  }
  const index = KINDS.indexOf(checkChoice(kind, KINDS, "kind", "read"));
  const min = READ_BYTES_MIN * getThreads();
  const size = checkCount(sizeBytes, "sizeBytes", { min, max: SIZE_BYTES_MAX });
  const duration = checkCount(durationMs, "durationMs", { min: 1, max: DURATION_MS_MAX });
  const rates = new Float64Array(2);
  check(native.probe(index, BigInt(size), duration, rates, rates.length));
  // From nanoseconds to seconds.
  return { median: rates[0]! * 1e9, best: rates[1]! * 1e9 };
}
