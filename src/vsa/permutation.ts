// Orders of dimensions.

import { checkArray, checkCount, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";
import { checkSeed } from "./options.ts";

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("Permutation");

/** More would not fit an array of every runtime. */
const PLACES_MAX = 2 ** 30;

function checkPlaces(count: number, name: string): number {
  return checkCount(count, name, { min: 1, max: PLACES_MAX });
}

/** Set by the class, the only place that can read its private fields. */
let readPlaces: (permutation: Permutation, inverse: boolean) => Uint32Array;
let isPermutation: (value: unknown) => boolean;

/** Where the trit of each place comes from when the permutation, or its inverse, is applied. */
export function sourcesOf(permutation: Permutation, inverse: boolean): Uint32Array {
  return readPlaces(permutation, !inverse);
}

/**
 * An order of dimensions for `permute`: the trit at place i goes to place p[i].
 *
 * Of 1 to 2^30 places. Takes 4 bytes a dimension, and as many again once its inverse has been used,
 * in the memory of JavaScript.
 *
 * @example
 * ```ts
 * import { Hypervector, Permutation } from "tritter-accel";
 *
 * const order = Permutation.random(10_000, 1);
 * using word = Hypervector.random(10_000, 2);
 * using moved = word.permute(order);
 * console.log(moved.unpermute(order).equals(word)); // true
 * ```
 */
export class Permutation {
  /** Number of places. */
  readonly dim: number;

  readonly #places: Uint32Array<ArrayBuffer>;
  #inverse: Uint32Array<ArrayBuffer> | undefined;

  static {
    readPlaces = (permutation, inverse) => inverse ? permutation.#inverted() : permutation.#places;
    isPermutation = (value) => typeof value === "object" && value !== null && #places in value;
  }

  /** Only for this module: use `random` or `from`. */
  private constructor(
    key: symbol,
    places: Uint32Array<ArrayBuffer>,
    inverse?: Uint32Array<ArrayBuffer>,
  ) {
    if (key !== KEY) {
      throw tritterError(
        "invalid_type",
        "Permutation is made by Permutation.random or Permutation.from",
      );
    }
    this.dim = places.length;
    this.#places = places;
    this.#inverse = inverse;
  }

  /**
   * Makes a random permutation, the same for the same seed on every machine.
   *
   * Fisher and Yates from the last place down: for i = dim - 1, ..., 1 the entries i and
   * floor(w[dim - 1 - i] (i + 1) / 2^32) of 0, 1, ..., dim - 1 change places. w[n] is output n mod 4
   * of Philox4x32-10 with the seed as key for the counter (floor(n / 4), 0, 0, 3).
   *
   * @example
   * ```ts
   * import { Permutation } from "tritter-accel";
   *
   * console.log(Permutation.random(5, 1).toUint32Array().sort()); // 0 1 2 3 4
   * ```
   */
  static random(dim: number, seed: number | bigint): Permutation {
    const places = new Uint32Array(checkPlaces(dim, "dim"));
    check(native.permutation_random(checkSeed(seed), places, places.length));
    return new Permutation(KEY, places);
  }

  /**
   * Makes a permutation from p[0], p[1], ...: each of 0 to length - 1 once, else throws
   * `invalid_value`. The places are copied.
   *
   * @example
   * ```ts
   * import { Hypervector, Permutation } from "tritter-accel";
   *
   * using a = Hypervector.from(Int8Array.of(1, 0, -1));
   * const order = Permutation.from(Uint32Array.of(1, 2, 0));
   * console.log(a.permute(order).toInt8Array()); // -1 1 0
   * ```
   */
  static from(places: Uint32Array): Permutation {
    checkArray(places, Uint32Array, "places");
    checkPlaces(places.length, "the length of places");
    const own = new Uint32Array(places);
    const inverse = new Uint32Array(own.length);
    check(native.permutation_invert(own, own.length, inverse, inverse.length));
    return new Permutation(KEY, own, inverse);
  }

  #inverted(): Uint32Array<ArrayBuffer> {
    if (this.#inverse === undefined) {
      const inverse = new Uint32Array(this.dim);
      check(native.permutation_invert(this.#places, this.dim, inverse, this.dim));
      this.#inverse = inverse;
    }
    return this.#inverse;
  }

  /**
   * Returns the permutation that undoes this one.
   *
   * @example
   * ```ts
   * import { Permutation } from "tritter-accel";
   *
   * console.log(Permutation.from(Uint32Array.of(1, 2, 0)).inverse().toUint32Array()); // 2 0 1
   * ```
   */
  inverse(): Permutation {
    return new Permutation(KEY, this.#inverted(), this.#places);
  }

  /**
   * Returns the permutation that does the same as this one and then `next`.
   *
   * @example
   * ```ts
   * import { Permutation } from "tritter-accel";
   *
   * const order = Permutation.random(3, 1);
   * console.log(order.compose(order.inverse()).toUint32Array()); // 0 1 2
   * ```
   */
  compose(next: Permutation): Permutation {
    const second = checkPermutation(next, "next", this.dim).#places;
    return new Permutation(KEY, this.#places.map((place) => second[place]!));
  }

  /**
   * Returns p[0], p[1], ... as a copy.
   *
   * @example
   * ```ts
   * import { Permutation } from "tritter-accel";
   *
   * console.log(Permutation.random(100, 1).toUint32Array().length); // 100
   * ```
   */
  toUint32Array(): Uint32Array<ArrayBuffer> {
    return this.#places.slice();
  }
}

/** Checks that a value is a permutation of as many places as asked for. */
export function checkPermutation(value: Permutation, name: string, dim: number): Permutation {
  if (!isPermutation(value)) {
    throw tritterError(
      "invalid_type",
      `${name} must be a number or a Permutation, got ${describe(value)}`,
    );
  }
  if (value.dim !== dim) {
    throw tritterError("invalid_shape", `${name} must have ${dim} places, got ${value.dim}`);
  }
  return value;
}
