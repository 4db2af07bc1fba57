// One small call of every family of kernels: what compute-sanitizer watches, because it is slow.
// With --without-cublas training is left out: initcheck does not see what cuBLAS writes.
import process from "node:process";
import { createCodec, globalNorm, hasOverflow, LossScaler, PackedTernary } from "../mod.ts";
import { clipByValue, fromBf16, Hypervector, HypervectorBatch, Tensor, toBf16 } from "../mod.ts";
import { GradientCompressor } from "../mod.ts";
import { randomFloats, randomTrits } from "./support.ts";
import "./cuda_sanitize_model.ts";
import "./cuda_sanitize_engine.ts";

if (!process.argv.includes("--without-cublas")) await import("./cuda_sanitize_training.ts");

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
for (const dim of [33, 700]) {
  using a = HypervectorBatch.random(300, dim, 1, { device });
  using b = HypervectorBatch.random(300, dim, 2, { device, distribution: "bipolar" });
  using one = a.get(7);
  for (const mode of ["add", "subtract", "multiply"] as const) {
    using bound = a.bind(b, { mode });
    bound.unbind(one, { mode, out: bound });
    using all = bound.bindMany({ mode });
    all.negate({ out: all });
    all.permute(5, { out: all });
    all.equals(one);
  }
  for (const size of [2, 100, 300]) {
    for (const tie of ["zero", "positive", "random", "first"] as const) {
      a.bundleGroups(size, { tie })[Symbol.dispose]();
    }
    a.bundleGroups(size, { weights: new Float32Array(size).fill(0.5) })[Symbol.dispose]();
  }
  using big = HypervectorBatch.random(3000, dim, 3, { device });
  using sum = big.bundle({ tie: "random" });
  Hypervector.bundle([one, sum])[Symbol.dispose]();
  a.rowCounts();
  a.similarity(b);
  using queries = HypervectorBatch.random(130, dim, 4, { device });
  for (const metric of ["dot", "cosine", "hamming", "jaccard"] as const) {
    a.topK(one, 40, { metric });
    a.topK(queries, 40, { metric });
    a.similarityMatrix(queries, { metric });
  }
}
for (const count of [1, 100, 4096 + 1000, 3 * 4096]) {
  using gradients = Tensor.from(randomFloats(count, 5), [count], { device });
  const bits = [1, 1.58, 2, 3, 4].map((bits) => createCodec("rotated", { bits }));
  const others = [createCodec("sign"), createCodec("sign", { block: 2 ** 20 })];
  for (const name of ["ternary", "projection", "vsa", "topk"] as const) {
    others.push(createCodec(name));
  }
  others.push(
    createCodec("ternary", { block: 3200 }),
    createCodec("topk", { ratio: 2, method: "sampled" }),
    createCodec("lowrank", { shape: [1, count] }),
    createCodec("entropy", { ratio: 8 }),
    createCodec("entropy", { cosine: 0.9 }),
  );
  for (const codec of [...bits, ...others]) {
    using restored = codec.decompress(codec.compress(gradients), { device });
    restored.data();
  }
  const compressor = new GradientCompressor({ gradientClipping: 0.1, device });
  compressor.decompress(compressor.compress(gradients), { device })[Symbol.dispose]();
  using words = toBf16(gradients);
  using values = fromBf16(words);
  globalNorm(values);
  hasOverflow(values);
  clipByValue(values, -1, 1);
  new LossScaler().unscale(values);
}
console.log("every kernel family ran");
