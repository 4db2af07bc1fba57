// What all ranks must have alike before they begin.

import { tritterError } from "../errors.ts";
import type { Communicator } from "./communicator.ts";

/** Throws on all ranks, where one has another number than rank 0; `must` is what is said then. */
export function checkAlike(
  communicator: Communicator,
  numbers: Readonly<Record<string, number>>,
  must: string,
): void {
  if (communicator.size === 1) return;
  const names = Object.keys(numbers);
  const all = communicator.allGather(Float64Array.from(Object.values(numbers)));
  all.forEach((value, index) => {
    const column = index % names.length;
    if (value === all[column]) return;
    const rank = Math.floor(index / names.length);
    throw tritterError(
      "invalid_value",
      `${must}: rank 0 has ${all[column]} ${names[column]}, rank ${rank} has ${value}`,
    );
  });
}
