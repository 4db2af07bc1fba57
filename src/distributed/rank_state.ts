// What every rank remembers for itself, in the one checkpoint that all share.

import { checkFinite } from "../checks.ts";
import { tritterError } from "../errors.ts";
import type { SafetensorsData } from "../formats/safetensors_writer.ts";
import { check, native } from "../native/library.ts";
import type { Communicator } from "./communicator.ts";

type FloatArrays = Readonly<Record<string, Float32Array | undefined>>;

/** The arrays of all ranks, array `name` of rank r as `name.r`. All ranks call it, with the same names. */
export function gatherRankArrays(
  communicator: Communicator,
  arrays: FloatArrays,
): Record<string, Float32Array> {
  const { size } = communicator;
  const gathered: Record<string, Float32Array> = {};
  for (const [name, array] of Object.entries(arrays)) {
    if (array === undefined) continue;
    const all = communicator.allGather(array);
    for (let rank = 0; rank < size; rank += 1) {
      gathered[`${name}.${rank}`] = all.subarray(rank * array.length, (rank + 1) * array.length);
    }
  }
  return gathered;
}

/**
 * What `gatherRankArrays` gathered, for this rank: its own arrays where as many ranks go on as there
 * were, else the mean over all, so that nothing that was still to be sent is lost or sent twice.
 */
export function ownRankArrays(
  { rank, size }: Communicator,
  arrays: Readonly<Record<string, SafetensorsData>>,
): Record<string, Float32Array> {
  const ranks = new Map<string, Float32Array[]>();
  for (const [key, array] of Object.entries(arrays)) {
    const [, name, index] = /^(.+)\.(\d+)$/.exec(key) ?? [];
    if (name === undefined || !(array instanceof Float32Array)) {
      throw tritterError("invalid_format", `Tensor ${key} must be the F32 of a rank`);
    }
    checkFinite(array, key);
    const list = ranks.get(name) ?? [];
    list[Number(index)] = array;
    ranks.set(name, list);
  }
  for (const [name, list] of ranks) checkRanks(name, list);
  return Object.fromEntries(
    Array.from(ranks, ([name, list]) => [name, list.length === size ? list[rank]! : meanOf(list)]),
  );
}

/** Every rank must be there, with as much as the others. */
function checkRanks(name: string, list: readonly (Float32Array | undefined)[]): void {
  // Only up to the first that is missing: the number of the last may be anything.
  for (let rank = 0; rank < Math.max(list.length, 1); rank += 1) {
    const length = list[rank]?.length;
    if (length !== undefined && length === list[0]?.length) continue;
    throw tritterError(
      "invalid_format",
      `Tensors ${name}.* must be there for every rank, with as many elements, got ${
        length ?? "none"
      } for rank ${rank}`,
    );
  }
}

function meanOf(arrays: readonly Float32Array[]): Float32Array {
  const mean = new Float32Array(arrays[0]!.length);
  for (const array of arrays) {
    check(native.floats_add_scaled(mean, mean.length, array, array.length, 1 / arrays.length));
  }
  return mean;
}
