// The product of one token in plain TypeScript, four ways; which is the fastest depends on the engine.

import type { Product, Subject } from "./subject.ts";

type Loop = (
  x: Float32Array,
  w: Float32Array,
  y: Float32Array,
  rows: number,
  cols: number,
) => void;

const naive: Loop = (x, w, y, rows, cols) => {
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let col = 0; col < cols; col++) sum += x[col]! * w[row * cols + col]!;
    y[row] = sum;
  }
};

const unrolled4: Loop = (x, w, y, rows, cols) => {
  for (let row = 0; row < rows; row++) {
    const start = row * cols;
    let [a, b, c, d] = [0, 0, 0, 0];
    for (let col = 0; col < cols; col += 4) {
      const at = start + col;
      a += x[col]! * w[at]!;
      b += x[col + 1]! * w[at + 1]!;
      c += x[col + 2]! * w[at + 2]!;
      d += x[col + 3]! * w[at + 3]!;
    }
    y[row] = a + b + (c + d);
  }
};

const unrolled8: Loop = (x, w, y, rows, cols) => {
  for (let row = 0; row < rows; row++) {
    const start = row * cols;
    let [a, b, c, d, e, f, g, h] = [0, 0, 0, 0, 0, 0, 0, 0];
    for (let col = 0; col < cols; col += 8) {
      const at = start + col;
      a += x[col]! * w[at]!;
      b += x[col + 1]! * w[at + 1]!;
      c += x[col + 2]! * w[at + 2]!;
      d += x[col + 3]! * w[at + 3]!;
      e += x[col + 4]! * w[at + 4]!;
      f += x[col + 5]! * w[at + 5]!;
      g += x[col + 6]! * w[at + 6]!;
      h += x[col + 7]! * w[at + 7]!;
    }
    y[row] = a + b + (c + d) + (e + f + (g + h));
  }
};

/** Codes are trit + 1, four a byte; the sum of the activations is subtracted at the end. */
function packedLoop(
  { trits, scales, input: x, rows, cols }: Product,
  y: Float32Array,
): () => void {
  const codes = new Uint8Array(trits.length / 4);
  trits.forEach((trit, index) => codes[index >> 2]! |= (trit + 1) << (index & 3) * 2);
  return () => {
    let total = 0;
    for (let col = 0; col < cols; col++) total += x[col]!;
    for (let row = 0; row < rows; row++) {
      const start = row * cols / 4;
      let [a, b, c, d] = [0, 0, 0, 0];
      for (let byte = 0; byte < cols / 4; byte++) {
        const code = codes[start + byte]!;
        const col = byte * 4;
        a += x[col]! * (code & 3);
        b += x[col + 1]! * (code >> 2 & 3);
        c += x[col + 2]! * (code >> 4 & 3);
        d += x[col + 3]! * (code >> 6);
      }
      y[row] = (a + b + (c + d) - total) * scales[row]!;
    }
  };
}

/** All loops, for one token; shapes are multiples of eight. */
export function typeScriptLoops(product: Product): Subject[] {
  const { rows, cols, input, weights } = product;
  const output = new Float32Array(rows);
  const subject = (name: string, run: () => void): Subject => ({
    name,
    threads: 1,
    run,
    output,
  });
  const loops: [string, Loop][] = [
    ["naive", naive],
    ["4 sums", unrolled4],
    ["8 sums", unrolled8],
  ];
  return [
    ...loops.map(([name, loop]) =>
      subject(
        `TypeScript, ${name}`,
        () => loop(input, weights, output, rows, cols),
      )
    ),
    subject("TypeScript, 2-bit", packedLoop(product, output)),
  ];
}
