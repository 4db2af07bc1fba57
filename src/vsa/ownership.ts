// Objects that own native memory and are made before what fills them can fail.

import { check } from "../native/library.ts";

/** Fills a new object, or frees it where that fails: nobody else would for a long time. */
export function filled<T extends Disposable>(made: T, fill: (made: T) => void): T {
  try {
    fill(made);
  } catch (error) {
    made[Symbol.dispose]();
    throw error;
  }
  return made;
}

/** Checks the status of a call that wrote to `target`, which is freed on failure unless it is `out`. */
export function settled<T extends Disposable>(status: number, target: T, out: T | undefined): T {
  if (status === 0) return target;
  try {
    check(status);
  } catch (error) {
    if (out === undefined) target[Symbol.dispose]();
    throw error;
  }
  return target;
}
