/** The example that trains a BitNet: its data, and the gradients that it left. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { trainingParagraphs } from "../examples/train_bitnet/jargon.ts";
import { loadTraining, Safetensors, TokenDataset } from "../mod.ts";
import { toyTokens } from "./toy_model.ts";

describe("the paragraphs to learn from", () => {
  const long = (name: string) => `The paragraph ${name} that has forty letters or more.`;
  const text = ["A", "B", "C", "B"].map(long).join("\n\n") + "\n\nA heading\n\n" + long("D");

  it("are without those that are held out, the last of which may have been cut off", () => {
    assert.deepEqual(trainingParagraphs(text, [long("B"), long("D").slice(0, 30)]), [
      long("A"),
      long("C"),
    ]);
    assert.equal(trainingParagraphs(text, []).length, 5);
  });
});

describe("the settings of the example", () => {
  for (const name of ["jargon", "quick"]) {
    it(`${name}.yaml fit`, async () => {
      const path = new URL(`../examples/train_bitnet/${name}.yaml`, import.meta.url);
      const data = TokenDataset.fromTokens(toyTokens(4000, 100, 1), 64);
      const { trainer, model } = await loadTraining(path, {
        data,
        checkpointEvery: 0,
      });
      assert.ok(trainer.steps >= 100);
      // The tokenizer is that of the model in examples/models.
      assert.deepEqual([model.config.vocabSize, model.config.eosTokenIds], [2048, [1]]);
    });
  }
});

describe("the gradients of the example", () => {
  const folder = fileURLToPath(new URL("./fixtures/gradients", import.meta.url));
  const files = readdirSync(folder).filter((name) => name.endsWith(".safetensors"));

  it("are those of three steps, and small", () => {
    assert.deepEqual(files.sort(), [1500, 50, 500].map((step) => `step-${step}.safetensors`));
    const bytes = files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
    assert.ok(bytes <= 4e6, `${bytes} bytes`);
    assert.match(readFileSync(join(folder, "README.md"), "utf8"), /--dump-gradients/);
  });

  it("are finite and not zero", () => {
    for (const name of files) {
      using file = Safetensors.open(join(folder, name));
      assert.ok(file.names.length >= 8);
      for (const tensor of file.names) {
        const squares = file.readFloat32(tensor).reduce((sum, value) => sum + value * value, 0);
        assert.ok(squares > 0 && squares < 1e6, `${name}: ${tensor}`);
      }
    }
  });
});
