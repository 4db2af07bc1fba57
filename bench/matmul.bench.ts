// Ternary matrix products against the same product of fp32 weights: in plain TypeScript, with four
// sums side by side so that the additions need not wait for each other, and vectorised and threaded,
// by this library's dense product. The latter is no tuned BLAS, but the fairer comparison.

import { bench, do_not_optimize, run, summary } from "mitata";
import { InferenceEngine, info, PackedTernary, Tensor } from "../mod.ts";

const { isa, threads } = info();
console.log(`${isa}, ${threads} threads; TypeScript: 1 thread`);

const engine = new InferenceEngine();

function fp32Loop(
  input: Float32Array,
  weights: Float32Array,
  output: Float32Array,
  [rows, cols]: readonly [number, number],
): void {
  const batch = input.length / cols;
  for (let token = 0; token < batch; token++) {
    for (let row = 0; row < rows; row++) {
      const x = token * cols;
      const w = row * cols;
      let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0];
      for (let col = 0; col < cols; col += 4) {
        sum0 += input[x + col]! * weights[w + col]!;
        sum1 += input[x + col + 1]! * weights[w + col + 1]!;
        sum2 += input[x + col + 2]! * weights[w + col + 2]!;
        sum3 += input[x + col + 3]! * weights[w + col + 3]!;
      }
      output[token * rows + row] = sum0 + sum1 + sum2 + sum3;
    }
  }
}

for (
  const [batch, size] of [[1, 64], [1, 2560], [16, 512], [64, 2560]] as const
) {
  const shape = [size, size] as const;
  const floats = Float32Array.from(
    { length: size * size },
    (_, index) => Math.sin(index * index),
  );
  const packed = PackedTernary.fromWeights(floats, shape);
  const weights = packed.toFloat32();
  const input = Float32Array.from(
    { length: batch * size },
    (_, index) => Math.sin(index),
  );
  const x = Tensor.from(input, [batch, size]);
  const matrix = Tensor.from(weights, shape);
  const out = new Float32Array(batch * size);
  const f32 = { out } as const;
  const int8 = { activations: "int8", out } as const;
  summary(() => {
    const name = `${batch} x ${size} by ${size} x ${size}`;
    bench(`${name}: fp32 weights, TypeScript`, () => {
      fp32Loop(input, weights, out, shape);
      do_not_optimize(out);
    });
    bench(`${name}: fp32 weights, native`, () => {
      do_not_optimize(engine.linear(x, matrix));
    });
    bench(`${name}: ternary, f32 activations`, () => {
      packed.matmul(input, f32);
    });
    bench(`${name}: ternary, int8 activations`, () => {
      packed.matmul(input, int8);
    });
  });
}

await run();
