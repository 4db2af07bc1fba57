// One small call of every family of kernels: what compute-sanitizer watches, because it is slow.
import { createCodec, globalNorm, hasOverflow, LossScaler, PackedTernary } from "../mod.ts";
import { clipByValue, fromBf16, Tensor, toBf16 } from "../mod.ts";
import { randomFloats, randomTrits } from "./support.ts";

const device = "cuda";
for (const [rows, cols, groups] of [[33, 300, 1], [40, 512, 4]] as const) {
  const trits = randomTrits(rows * cols, 1);
  const scales = randomFloats(rows * groups, 2);
  using weights = PackedTernary.fromTernary(trits, scales, [rows, cols], { device });
  for (const tokens of [1, 2, 5, 12, 20, 70]) {
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
for (const count of [1, 100, 4096 + 1000, 3 * 4096]) {
  using gradients = Tensor.from(randomFloats(count, 5), [count], { device });
  const bits = [1, 1.58, 2, 3, 4].map((bits) => createCodec("rotated", { bits }));
  const others = [createCodec("sign"), createCodec("sign", { block: 2 ** 20 })];
  for (const name of ["ternary", "projection", "vsa"] as const) others.push(createCodec(name));
  others.push(
    createCodec("ternary", { block: 3200 }),
    createCodec("lowrank", { shape: [1, count] }),
  );
  for (const codec of [...bits, ...others]) {
    using restored = codec.decompress(codec.compress(gradients), { device });
    restored.data();
  }
  using words = toBf16(gradients);
  using values = fromBf16(words);
  globalNorm(values);
  hasOverflow(values);
  clipByValue(values, -1, 1);
  new LossScaler().unscale(values);
}
console.log("every kernel family ran");
