// The wire format: two bits a trit.
//
//   byte   bits 7-6   5-4   3-2   1-0        00 = 0, 01 = +1, 10 = -1, 11 is no trit
//   trit      c+3     c+2   c+1    c         each row starts on a byte

import { checkArray, checkOptions, checkShape } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { check, native } from "../native/library.ts";

/** Bytes that a packed [rows, columns] matrix takes. */
export function packedBytes(rows: number, cols: number): number {
  return rows * Math.ceil(cols / 4);
}

/** Checks that there are finite scales per row or per group of equal size, and returns that size. */
export function checkScales(scales: Float32Array, rows: number, cols: number): number {
  checkArray(scales, Float32Array, "scales");
  const groups = scales.length / rows;
  if (groups === 0 || !Number.isInteger(groups) || cols % groups !== 0) {
    throw tritterError(
      "invalid_length",
      `scales must have ${rows} elements (one a row) or ${rows} times a divisor of the ${cols} ` +
        `columns, got ${scales.length}`,
    );
  }
  // Natively: there may be a scale for every few weights.
  check(native.check_scales(scales, scales.length));
  return cols / groups;
}

/**
 * Packs trits into the wire format, four a byte.
 *
 * Column c of a row is at bits 2(c mod 4) of the row's byte floor(c / 4); 00 = 0, 01 = +1, 10 = -1;
 * each row starts on a byte. `scales` has one scale a row or one a group and is returned as a
 * copy. With `out`, of rows x ceil(columns / 4) bytes that do not overlap the trits, nothing is
 * allocated: new memory costs as much as the packing. The bytes are written there, and `scales` is
 * returned as it is. Throws `invalid_value` naming the index for values other than -1, 0 and 1;
 * `out` holds nothing of use then.
 *
 * @example
 * ```ts
 * import { packTernaryWeights } from "tritter-accel";
 *
 * const { packed } = packTernaryWeights(Int8Array.of(1, -1, 0, 1), Float32Array.of(0.5), [1, 4]);
 * console.log(packed[0]!.toString(16)); // 49
 * ```
 */
export function packTernaryWeights(
  ternary: Int8Array | Float32Array,
  scales: Float32Array,
  shape: readonly [number, number],
  options?: { out?: Uint8Array | undefined },
): { packed: Uint8Array<ArrayBuffer>; scales: Float32Array<ArrayBuffer> } {
  const { out } = checkOptions(options, "options");
  const [rows, cols] = checkShape(shape, "shape", 2) as [number, number];
  checkScales(scales, rows, cols);
  const length = packedBytes(rows, cols);
  const packed =
    (out === undefined
      ? new Uint8Array(length)
      : checkArray(out, Uint8Array, "out", length)) as Uint8Array<ArrayBuffer>;
  if (ternary instanceof Float32Array) {
    checkArray(ternary, Float32Array, "ternary", rows * cols);
    check(native.pack_f32(ternary, ternary.length, rows, cols, packed, packed.length));
  } else {
    checkArray(ternary, Int8Array, "ternary", rows * cols);
    check(native.pack_i8(ternary, ternary.length, rows, cols, packed, packed.length));
  }
  const own = out === undefined ? new Float32Array(scales) : scales;
  return { packed, scales: own as Float32Array<ArrayBuffer> };
}

/**
 * Unpacks wire bytes to weights: trit times the scale of its row or group.
 *
 * Bits after the last column of a row are ignored. `out`, of rows x columns elements, takes the
 * result instead of a new array; it must not overlap the inputs. Throws `invalid_length` for wrong
 * sizes and `invalid_value` naming the index for the code 11; `out` holds nothing of use then.
 *
 * @example
 * ```ts
 * import { unpackTernaryWeights } from "tritter-accel";
 *
 * const weights = unpackTernaryWeights(Uint8Array.of(0x49), Float32Array.of(0.5), [1, 4]);
 * console.log(weights); // 0.5 -0.5 0 0.5
 * ```
 */
export function unpackTernaryWeights(
  packed: Uint8Array,
  scales: Float32Array,
  shape: readonly [number, number],
  options?: { out?: Float32Array | undefined },
): Float32Array<ArrayBuffer> {
  const { out } = checkOptions(options, "options");
  const [rows, cols] = checkShape(shape, "shape", 2) as [number, number];
  checkScales(scales, rows, cols);
  checkArray(packed, Uint8Array, "packed", packedBytes(rows, cols));
  const weights =
    (out === undefined
      ? new Float32Array(rows * cols)
      : checkArray(out, Float32Array, "out", rows * cols)) as Float32Array<ArrayBuffer>;
  check(native.unpack_f32(
    packed,
    packed.length,
    scales,
    scales.length,
    rows,
    cols,
    weights,
    weights.length,
  ));
  return weights;
}
