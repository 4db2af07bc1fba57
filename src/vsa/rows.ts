// Batches as lists of rows: putting them together, counting in each.

import { checkChoice } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check } from "../native/library.ts";
import { copyList } from "./bundling.ts";
import * as calls from "./calls.ts";
import { checkLength } from "./formats.ts";
import { checkVectors, handleAt, type Hypervectors } from "./hypervectors.ts";
import type { HypervectorOptions } from "./options.ts";

/** How batches are put together. */
export interface ConcatOptions extends HypervectorOptions {
  /** What there is more of afterwards: rows, or dimensions of each row. Default: `"rows"`. */
  axis?: "rows" | "dims" | undefined;
}

/** How many trits of each kind there are in each row. */
export interface RowCounts {
  /** Trits of 1. */
  positive: Uint32Array<ArrayBuffer>;
  /** Trits of -1. */
  negative: Uint32Array<ArrayBuffer>;
  /** Trits of 0. */
  zero: Uint32Array<ArrayBuffer>;
}

/** What batches become together. */
export interface Joint {
  parts: readonly Hypervectors[];
  axis: "rows" | "dims";
  count: number;
  dim: number;
}

const AXES = ["rows", "dims"] as const;

/** Checks batches that are put together, and adds up their rows or dimensions. */
export function jointOf(vectors: readonly Hypervectors[], wanted: ConcatOptions["axis"]): Joint {
  const axis = checkChoice(wanted, AXES, "axis", "rows");
  const parts = copyList(vectors);
  let { dim, count } = checkVectors(parts[0]!, "vectors[0]");
  for (let index = 1; index < parts.length; index++) {
    const [part, name] = [parts[index]!, `vectors[${index}]`];
    checkVectors(part, name, axis === "rows" ? dim : undefined);
    if (axis === "dims" && part.count !== count) {
      throw tritterError("invalid_shape", `${name} must be ${count} vectors, got ${part.count}`);
    }
    if (axis === "rows") count += part.count;
    else dim += part.dim;
  }
  return { parts, axis, count, dim };
}

/** Counts the trits of each kind in each row. */
export function countRows(vectors: Hypervectors): RowCounts {
  const { count, dim, device } = vectors;
  checkLength(2 * count, "counts");
  const ones = new Uint32Array(2 * count);
  check(calls.countRows(device, handleAt(vectors, device, "rows"), ones, ones.length));
  const counts = {
    positive: new Uint32Array(count),
    negative: new Uint32Array(count),
    zero: new Uint32Array(count),
  };
  for (let row = 0; row < count; row++) {
    const [nonzero, negative] = [ones[2 * row]!, ones[2 * row + 1]!];
    counts.positive[row] = nonzero - negative;
    counts.negative[row] = negative;
    counts.zero[row] = dim - nonzero;
  }
  return counts;
}
