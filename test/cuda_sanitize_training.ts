// Small models of every kind of kernel that training needs: the part of cuda_sanitize.ts about them.
import { AdamW, clearGradients, clipByGlobalNorm, Sgd, TrainableTransformer } from "../mod.ts";
import type { Tensor, TransformerConfig } from "../mod.ts";

const recipes: [TransformerConfig, readonly [number, number]][] = [
  [{ vocabSize: 23, hiddenSize: 12, intermediateSize: 20, layers: 2, heads: 3, kvHeads: 1 }, [
    2,
    7,
  ]],
  [{
    architecture: "LlamaForCausalLM",
    vocabSize: 301,
    hiddenSize: 90,
    intermediateSize: 203,
    layers: 1,
    heads: 4,
    kvHeads: 2,
    headDim: 18,
    tieWordEmbeddings: false,
    attentionBias: true,
    mlpBias: true,
  }, [2, 67]],
  [{ vocabSize: 100, hiddenSize: 128, intermediateSize: 256, layers: 1, heads: 2 }, [1, 130]],
  [{ vocabSize: 50, hiddenSize: 128, intermediateSize: 192, layers: 1, heads: 1 }, [1, 70]],
  [{ vocabSize: 50, hiddenSize: 512, intermediateSize: 192, layers: 1, heads: 2 }, [1, 65]],
];
for (const [config, shape] of recipes) {
  using model = new TrainableTransformer(config, { seed: 1 }).to("cuda");
  const count = shape[0] * shape[1];
  const ids = Int32Array.from({ length: count }, (_, index) => (index * 7 + 3) % config.vocabSize);
  const targets = ids.map((id, index) => index % 5 === 2 ? -100 : id);
  for (const optimizer of [new AdamW(), new Sgd({ momentum: 0.5 })]) {
    using _owned = optimizer;
    clearGradients(model.parameters);
    model.lossAndGradients(ids, targets, shape, { scale: 0.5 });
    clipByGlobalNorm(model.parameters.map(({ gradient }): Tensor => gradient), 0.1);
    optimizer.step(model.parameters, 1e-3);
  }
  model.loss(ids, targets, shape);
}
console.log("every kernel family of training ran");
