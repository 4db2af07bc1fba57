/** Something that computes one product again and again. */
export interface Subject {
  name: string;
  threads: number;
  /** Computes the product once; asynchronous only where the peer offers nothing else. */
  run(): void | Promise<void>;
  /** Where `run` leaves the product: [batch, rows]. */
  output: Float32Array;
  dispose?(): void;
}

/** The product that all subjects of a case compute: input [batch, cols] times the weights' transpose. */
export interface Product {
  rows: number;
  cols: number;
  batch: number;
  input: Float32Array;
  /** -1, 0 and 1, row-major. */
  trits: Int8Array;
  /** One of each row. */
  scales: Float32Array;
  /** Trit times scale, for peers that know no ternary weights. */
  weights: Float32Array;
}

/** A peer that cannot be measured here, with the reason in one line. */
export class Unavailable extends Error {}

/**
 * What fp32 sums of up to 16384 terms in any order may be off by, in `checkProduct`: each of the
 * sqrt(16384) = 128 roundings that add up at random is half of 2^-23 of a partial sum, which is below
 * three times the norm.
 */
export const FP32_TOLERANCE: number = 3 * 128 * 2 ** -24;

/**
 * What int8 activations may be off by: values uniform in [-m, m] have a root mean square of m / sqrt 3,
 * steps of m / 127 an error of m / 127 / sqrt 12, so a product is off by 1/254 of its norm (one
 * standard deviation), and six of them are allowed.
 */
export const INT8_TOLERANCE: number = 6 / 254;

/**
 * Checks some elements of a subject's product against a loop in float64.
 *
 * The error of an element is allowed to be `tolerance` times the length of (|x| |w|), the two-norm of
 * the terms: what independent roundings add up to.
 */
export function checkProduct(
  product: Product,
  subject: Subject,
  tolerance: number,
): void {
  const { rows, cols, batch, input, trits, scales } = product;
  for (let sample = 0; sample < 40; sample++) {
    const token = sample % batch;
    const row = sample === 0 ? rows - 1 : sample * 7919 % rows;
    let expected = 0;
    let squares = 0;
    for (let col = 0; col < cols; col++) {
      const term = input[token * cols + col]! * trits[row * cols + col]! *
        scales[row]!;
      expected += term;
      squares += term * term;
    }
    const actual = subject.output[token * rows + row]!;
    const allowed = tolerance * Math.sqrt(squares);
    if (Math.abs(actual - expected) <= allowed) continue;
    throw new Error(
      `${subject.name} computes ${actual} at token ${token}, row ${row} of ${rows} x ${cols}, ` +
        `expected ${expected} within ${allowed}`,
    );
  }
}
