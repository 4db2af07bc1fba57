// Writes small models with exportModel and compares what they compute here with what Hugging Face
// transformers computes from the same directories.
//
//   python3 -m venv venv && venv/bin/pip install torch transformers accelerate
//   bun scripts/compare_transformers.ts venv/bin/python
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { exportModel, loadModel, TrainableTransformer, type TransformerConfig } from "../mod.ts";

const sizes = { vocabSize: 97, hiddenSize: 64, intermediateSize: 96, layers: 2, heads: 4 };
const common = { ...sizes, kvHeads: 2, bosTokenId: 0, eosTokenIds: [1] };
const CONFIGS: Record<string, TransformerConfig> = {
  bitnet: common,
  llama: { ...common, architecture: "LlamaForCausalLM", tieWordEmbeddings: false },
};
const FORMS = [
  { form: "packed", linearClass: "autobitlinear" },
  { form: "packed", linearClass: "bitlinear" },
  { form: "unpacked", linearClass: "autobitlinear" },
] as const;
const ids = Array.from({ length: 24 }, (_, index) => (index * 37 + 11) % 96);

const python = process.argv[2] ?? "python3";
const directory = mkdtempSync(join(tmpdir(), "tritter-transformers-"));
try {
  const models: Record<string, number[]> = {};
  for (const [name, config] of Object.entries(CONFIGS)) {
    for (const latent of ["f32", "bf16"] as const) {
      const model = new TrainableTransformer(config, { seed: 3, initializerRange: 0.1, latent });
      for (const { shape, data } of model.parameters) {
        if (shape.length > 1) continue;
        for (let index = 0; index < data.length; index++) data[index]! += 0.2 * Math.sin(index);
      }
      for (const options of FORMS) {
        const path = join(directory, [name, latent, ...Object.values(options)].join("-"));
        exportModel(model, path, options);
        using loaded = await loadModel(path);
        models[path] = Array.from(loaded.forward(ids, { logits: "all" }).logits);
      }
    }
  }
  const given = join(directory, "given.json");
  writeFileSync(given, JSON.stringify({ ids, models }));
  const script = fileURLToPath(new URL("./compare_transformers.py", import.meta.url));
  process.exitCode = spawnSync(python, [script, given], { stdio: "inherit" }).status ?? 1;
} finally {
  rmSync(directory, { recursive: true });
}
