// One small call of every family of kernels: what compute-sanitizer watches, because it is slow.
import { PackedTernary, Tensor } from "../mod.ts";
import { randomFloats, randomTrits } from "./support.ts";
import "./cuda_sanitize_model.ts";

const device = "cuda";
for (const [rows, cols, groups] of [[33, 300, 1], [40, 512, 1], [40, 512, 4]] as const) {
  const trits = randomTrits(rows * cols, 1);
  const scales = randomFloats(rows * groups, 2);
  using weights = PackedTernary.fromTernary(trits, scales, [rows, cols], { device });
  for (const tokens of [1, 2, 5, 12, 20, 70, 130]) {
    using input = Tensor.from(randomFloats(tokens * cols, tokens), [tokens, cols], { device });
    using bias = Tensor.from(randomFloats(rows, 3), [rows], { device });
    for (const activations of ["int8", "f32"] as const) {
      using result = weights.matmul(input, { activations, bias });
      result.data();
    }
  }
  using floats = Tensor.from(randomFloats(rows * cols, 4), [rows, cols], { device });
  using quantized = PackedTernary.fromWeights(floats, undefined, { groupSize: cols / groups });
  quantized.toPackedBytes();
  using bytes = Tensor.from(trits, [rows, cols], { device });
  using packed = PackedTernary.fromTernary(bytes, scales, [rows, cols]);
  packed.toTernary();
}
console.log("every kernel family ran");
