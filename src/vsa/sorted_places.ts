// Rising lists of places, by merging.

import { describe } from "../checks.ts";
import { tritterError } from "../errors.ts";

/** Places that rise. */
export type Places = Uint32Array<ArrayBuffer>;

const TypedArray = Object.getPrototypeOf(Uint32Array) as FunctionConstructor;

/** Whether a value has a length; what only looks like a typed array throws when it is asked. */
function isList(values: unknown): values is ArrayLike<unknown> {
  if (typeof values !== "object" || values === null) return false;
  if (values instanceof TypedArray && !ArrayBuffer.isView(values)) return false;
  return Number.isSafeInteger((values as ArrayLike<unknown>).length);
}

/** Checks places in any order, each below `dim` and named once, and returns them rising. */
export function sortedPlaces(values: ArrayLike<number>, name: string, dim: number): Places {
  if (!isList(values)) {
    throw tritterError("invalid_type", `${name} must be a list of places, got ${describe(values)}`);
  }
  const count = values.length;
  if (count > dim) {
    throw tritterError("invalid_length", `${name} must have at most ${dim} places, got ${count}`);
  }
  // Grown as it fills: a length is easily claimed.
  let places = new Uint32Array(Math.min(count, ArrayBuffer.isView(values) ? count : 1024));
  for (let index = 0; index < count; index++) {
    if (index === places.length) places = grown(places, Math.min(2 * index, count));
    const place: unknown = values[index];
    if (typeof place !== "number" || !Number.isInteger(place) || place < 0 || place >= dim) {
      throw tritterError(
        "invalid_value",
        `${name}[${index}] must be an integer from 0 to ${dim - 1}, got ${describe(place)}`,
      );
    }
    places[index] = place;
  }
  places.sort();
  const again = places.findIndex((place, index) => index > 0 && place === places[index - 1]);
  if (again > 0) {
    throw tritterError("invalid_value", `${name} must differ, got ${places[again]} twice`);
  }
  return places;
}

function grown(places: Places, length: number): Places {
  const more = new Uint32Array(length);
  more.set(places);
  return more;
}

/** Whether places rise and stay below `dim`. */
export function isRising(places: Places, dim: number): boolean {
  for (let index = 1; index < places.length; index++) {
    if (places[index]! <= places[index - 1]!) return false;
  }
  return places.length === 0 || places[places.length - 1]! < dim;
}

/** Whether two lists are the same. */
export function samePlaces(a: Places, b: Places): boolean {
  return a.length === b.length && a.every((place, index) => place === b[index]);
}

/** How many places are in both. */
export function countShared(a: Places, b: Places): number {
  let [i, j, count] = [0, 0, 0];
  while (i < a.length && j < b.length) {
    const [x, y] = [a[i]!, b[j]!];
    if (x === y) count++;
    if (x <= y) i++;
    if (y <= x) j++;
  }
  return count;
}

/** The places that are in both. */
export function shared(a: Places, b: Places): Places {
  const found = new Uint32Array(Math.min(a.length, b.length));
  let [i, j, count] = [0, 0, 0];
  while (i < a.length && j < b.length) {
    const [x, y] = [a[i]!, b[j]!];
    if (x === y) found[count++] = x;
    if (x <= y) i++;
    if (y <= x) j++;
  }
  return found.slice(0, count);
}

/** The places of two lists that share none. */
export function merge(a: Places, b: Places): Places {
  const all = new Uint32Array(a.length + b.length);
  let [i, j] = [0, 0];
  for (let index = 0; index < all.length; index++) {
    const fromA = j >= b.length || (i < a.length && a[i]! < b[j]!);
    all[index] = fromA ? a[i++]! : b[j++]!;
  }
  return all;
}

/** The places of the first list that are not in the second. */
export function without(a: Places, b: Places): Places {
  const left = new Uint32Array(a.length);
  let [j, count] = [0, 0];
  for (const place of a) {
    while (j < b.length && b[j]! < place) j++;
    if (j === b.length || b[j] !== place) left[count++] = place;
  }
  return left.slice(0, count);
}

/** How many places lie below a bound. */
function countBelow(places: Places, bound: number): number {
  let [low, high] = [0, places.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (places[middle]! < bound) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The places from `start` on up to `end`, counted from `start`. */
export function sliced(places: Places, start: number, end: number): Places {
  return places.slice(countBelow(places, start), countBelow(places, end))
    .map((place) => place - start);
}

/** The places moved on by `shift`, below `dim`, round and round. */
export function rotated(places: Places, shift: number, dim: number): Places {
  const first = countBelow(places, dim - shift);
  const all = new Uint32Array(places.length);
  const wrapped = places.length - first;
  // What passes the end comes first.
  for (let index = 0; index < wrapped; index++) all[index] = places[first + index]! + shift - dim;
  for (let index = 0; index < first; index++) all[wrapped + index] = places[index]! + shift;
  return all;
}

/** The places that others go to, rising. */
export function moved(places: Places, targets: Uint32Array): Places {
  return places.map((place) => targets[place]!).sort();
}
