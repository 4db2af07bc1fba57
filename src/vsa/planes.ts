// Vectors as part of what else is saved: two planes a row, as formats.ts describes them.

import { readFormat, writeFormat } from "./formats.ts";
import { readOnHost, writeOnHost } from "./handles.ts";
import type { Hypervectors } from "./hypervectors.ts";

/** Bytes of the planes of vectors. */
export function planeBytes(count: number, dim: number): number {
  return count * 2 * Math.ceil(dim / 8);
}

/** The planes of the first `count` vectors, or of all. */
export function readPlanes(
  vectors: Hypervectors,
  count: number = vectors.count,
): Uint8Array<ArrayBuffer> {
  return readOnHost(
    vectors,
    (handle) => readFormat(handle, "planes", { count, dim: vectors.dim }),
  );
}

/** Writes the first vectors from planes; throws `invalid_format` where they hold no trits. */
export function writePlanes(vectors: Hypervectors, planes: Uint8Array): void {
  writeOnHost(vectors, (handle) => writeFormat(handle, "planes", planes));
}
