// All arrays of a model as one, in their order.

/** Arrays that are read and written as if they were one. */
export class FlatArrays {
  /** Elements of all arrays together. */
  readonly length: number;
  readonly #arrays: readonly Float32Array[];

  constructor(arrays: readonly Float32Array[]) {
    this.#arrays = arrays;
    this.length = arrays.reduce((sum, array) => sum + array.length, 0);
  }

  /** Copies elements from `start` on into `out`, as many as it has. */
  read(out: Float32Array, start = 0): void {
    this.#each(start, out, (part, piece) => piece.set(part));
  }

  /** Copies `values` to the elements from `start` on. */
  write(values: Float32Array, start = 0): void {
    this.#each(start, values, (part, piece) => part.set(piece));
  }

  /** The parts of a flat array that belong to each of the arrays. */
  cut(flat: Float32Array): Float32Array[] {
    let end = 0;
    return this.#arrays.map(({ length }) => flat.subarray(end, end += length));
  }

  #each(
    start: number,
    flat: Float32Array,
    copy: (part: Float32Array, piece: Float32Array) => void,
  ): void {
    const end = start + flat.length;
    let first = 0;
    for (const array of this.#arrays) {
      const [from, to] = [Math.max(start, first), Math.min(end, first + array.length)];
      if (from < to) {
        copy(array.subarray(from - first, to - first), flat.subarray(from - start, to - start));
      }
      first += array.length;
    }
  }
}
