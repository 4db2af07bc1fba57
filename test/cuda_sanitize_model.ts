// One small model of every kind of kernel that models need: the part of cuda_sanitize.ts about them.
import { loadModel } from "../mod.ts";
import { makeModel, type Recipe, withDirectory, writeModel } from "./make_model.ts";

const ids = Array.from({ length: 40 }, (_, index) => (index * 7 + 3) % 90);
const recipes: [Recipe, "stored" | "bf16" | "int8"][] = [
  [{ hidden: 64, heads: 4, kvHeads: 2, layers: 2 }, "stored"],
  [{
    hidden: 36,
    heads: 2,
    kvHeads: 1,
    headDim: 18,
    intermediate: 67,
    weights: "trits",
    useRmsNorm: true,
  }, "int8"],
  [{ hidden: 512, heads: 4, kvHeads: 2, headDim: 128, layers: 1, float: "F16" }, "bf16"],
  [{ architecture: "LlamaForCausalLM", heads: 2, kvHeads: 1, headDim: 200, layers: 1 }, "stored"],
];
for (const [recipe, head] of recipes) {
  await withDirectory(async (directory) => {
    writeModel(directory, makeModel(recipe));
    using model = await loadModel(directory, { device: "cuda", head, tokenizer: false });
    model.forward(ids);
    using cache = model.createCache({ maxTokens: 60 });
    for await (
      const _ of model.generate(ids, { cache, maxTokens: 6 })
    ) { /* Only its kernels matter. */ }
    model.forward([5], { cache });
    model.forward([6, 7, 8], { cache, logits: "last" });
  });
}
console.log("every kernel family of models ran");
