// simsimd: the distances of bits and of bytes that come closest to those of trits. It is installed
// into bench/node_modules by the benchmark alone.

import { createRequire } from "node:module";
import { Unavailable } from "./subject.ts";

/** The part of simsimd in use. */
export interface Simsimd {
  /** Bits that differ. */
  hamming(a: Uint8Array, b: Uint8Array): number;
  dot(a: Int8Array, b: Int8Array): number;
}

/** The module, or `Unavailable` with the reason in one line. */
export function loadSimsimd(): Simsimd {
  try {
    return createRequire(import.meta.url)("simsimd") as Simsimd;
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new Unavailable(`simsimd cannot be loaded: ${reason}`);
  }
}
