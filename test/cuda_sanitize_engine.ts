// The kernels of an inference engine, for compute-sanitizer.
import { InferenceEngine, Tensor, TernaryLayer } from "../mod.ts";
import { randomFloats } from "./support.ts";

const device = "cuda";
const engine = new InferenceEngine({ device, maxBatchSize: 2 });
for (const size of [3, 33, 64, 2500]) {
  using x = Tensor.from(randomFloats(5 * 3 * size, 1), [5, 3, size], { device });
  for (const axis of [0, 1, 2]) engine.softmax(x, axis)[Symbol.dispose]();
  const vector = randomFloats(size, 2);
  engine.layerNorm(x, vector, vector)[Symbol.dispose]();
  engine.layerNorm(x, vector)[Symbol.dispose]();
  engine.batchedForward(x, (rows) => engine.softmax(rows))[Symbol.dispose]();
  using weights = Tensor.from(randomFloats(7 * size, 3), [7, size], { device });
  using layer = TernaryLayer.fromWeights(weights, undefined, { bias: new Float32Array(7) });
  engine.ternaryLinear(x, layer)[Symbol.dispose]();
  engine.linear(x, weights, new Float32Array(7).fill(1))[Symbol.dispose]();
}
console.log("the kernels of an engine ran");
