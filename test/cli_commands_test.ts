/** The command tritter: what its commands print, as text and as JSON. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { info, loadModel, Safetensors } from "../mod.ts";
import { jsonOf, runCommand } from "./cli_support.ts";
import { makeModel, withDirectory, writeModel } from "./make_model.ts";

const jargon = fileURLToPath(new URL("../examples/models/bitnet-jargon", import.meta.url));
const llama = fileURLToPath(new URL("./fixtures/llama-bitlinear", import.meta.url));
const timeout = 300_000;

async function textOf(args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await runCommand(args);
  assert.equal(status, 0, stderr);
  return stdout;
}

describe("tritter info", { timeout }, () => {
  it("names the library and the machine", async () => {
    const { version, isa, library } = info();
    const found = await jsonOf(["info"]);
    assert.deepEqual([found.version, found.isa, found.library], [version, isa, library]);
    assert.match(found.runtime, "Deno" in globalThis ? /^deno \d/ : /^bun \d/);
    assert.match(await textOf(["info"]), new RegExp(`^version +${version}\\nlibrary +\\S`));
  });
});

describe("tritter inspect", { timeout }, () => {
  it("describes a model directory", async () => {
    const found = await jsonOf(["inspect", llama]);
    using model = await loadModel(llama, { tokenizer: false });
    assert.equal(found.kind, "model");
    assert.equal(found.architecture, "LlamaForCausalLM");
    assert.deepEqual([found.loadable, found.reason], [true, null]);
    assert.equal(found.parameters, model.parameterCount);
    assert.deepEqual(found.config, model.config);
    using file = Safetensors.open(join(llama, "model.safetensors"));
    assert.deepEqual(
      found.tensors.map(({ name }: { name: string }) => name).sort(),
      file.names.sort(),
    );
    const text = await textOf(["inspect", llama]);
    assert.match(text, /lm_head\.weight +F32 +2048 x 192 +1572864/);
    assert.match(text, /loadable +yes\n$/);
  });

  it("describes a safetensors file", async () => {
    const path = join(jargon, "model.safetensors");
    const found = await jsonOf(["inspect", path]);
    using file = Safetensors.open(path);
    assert.equal(found.kind, "safetensors");
    assert.deepEqual(found.metadata, Object.fromEntries(file.metadata));
    assert.equal(found.tensors.length, file.names.length);
    assert.match(await textOf(["inspect", path]), /110 tensors, 3\.04 MB\n$/);
  });

  it("says why a model cannot be loaded", () =>
    withDirectory(async (directory) => {
      const model = makeModel({ weights: "floats" });
      delete model.config.quantization_config;
      writeModel(directory, model);
      const found = await jsonOf(["inspect", directory]);
      assert.equal(found.loadable, false);
      assert.match(found.reason, /quantization_config must be there/);
    }));
});

describe("tritter generate", { timeout }, () => {
  it("streams what the library generates, with progress on standard error alone", async () => {
    using model = await loadModel(jargon);
    const options = { maxTokens: 20, temperature: 0.8, topK: 40, topP: 0.9, seed: 3 };
    let expected = "";
    const ids: number[] = [];
    for await (const { id, text } of model.generate("A kluge is ", options)) {
      expected += text;
      ids.push(id);
    }
    const flags = ["--max-tokens=20", "--temperature=0.8", "--top-k=40", "--top-p=0.9", "--seed=3"];
    const args = ["generate", jargon, "A kluge is ", ...flags];
    const { status, stdout, stderr } = await runCommand(args);
    assert.equal(status, 0, stderr);
    assert.equal(stdout, `A kluge is ${expected}\n`);
    assert.match(stderr, /^Loading 3\.04 MB: 100\.0 %\n20 tokens in [\d.]+ s, [\d.]+ a second\n$/);
    const found = await jsonOf(args);
    assert.deepEqual([found.prompt, found.text, found.tokens], ["A kluge is ", expected, ids]);
    assert.equal(found.interrupted, false);
    assert.ok(found.tokensPerSecond > 0);
  });

  it("reads the prompt from standard input and stops before a text", async () => {
    const args = ["generate", jargon, "-", "--stop", "a", "--stop", "e", "--head", "int8"];
    const found = await jsonOf(args, { input: "The hacker " });
    assert.equal(found.prompt, "The hacker ");
    assert.doesNotMatch(found.text, /[ae]/);
  });
});

describe("tritter quantize", { timeout }, () => {
  it("writes a packed directory and tells what became of each layer", () =>
    withDirectory(async (folder) => {
      const [from, to] = [join(folder, "float"), join(folder, "packed")];
      mkdirSync(from);
      writeModel(from, makeModel({ weights: "floats", mode: "online" }));
      const found = await jsonOf(["quantize", from, to]);
      assert.equal(found.layers.length, 14);
      assert.deepEqual(found.skipped, []);
      const { loadable, bytes } = await jsonOf(["inspect", to]);
      assert.deepEqual([loadable, bytes], [true, found.bytesAfter]);
      const again = await runCommand(["quantize", from, to]);
      assert.deepEqual([again.status, again.stdout], [1, ""]);
      assert.match(again.stderr, /^error: \S+ must not exist or be empty/);
      const text = await textOf(["quantize", from, to, "--overwrite", "--skip=*.mlp.*"]);
      assert.match(text, /^layer +shape +scale +-1 +0 +\+1 +error +bytes\n/);
      assert.match(text, /8 layers quantised, 6 skipped; [\d.]+ kB became [\d.]+ kB in/);
    }));
});

const RUN = (more: string) => `
model: { vocab_size: 2048, hidden_size: 16, intermediate_size: 32, layers: 1, heads: 2 }
data:
  files: [text.txt]
  tokenizer: ${JSON.stringify(jargon)}
  split: paragraph
  length: 16
trainer: { batch_size: 2, learning_rate: 0.003, ${more} }
`;

describe("tritter train", { timeout }, () => {
  it("trains as the file says and exports the model", () =>
    withDirectory(async (folder) => {
      const text = "A hacker is a person who enjoys exploring the details of systems.\n\n";
      writeFileSync(join(folder, "text.txt"), text.repeat(20));
      writeFileSync(join(folder, "run.yaml"), RUN("steps: 100"));
      const target = join(folder, "model");
      const args = ["train", join(folder, "run.yaml"), "--steps=4"];
      const found = await jsonOf([...args, "--export", target, "--tokenizer", jargon]);
      assert.deepEqual([found.steps, found.aborted, found.exported], [4, false, target]);
      assert.ok(found.loss > 0);
      assert.deepEqual(readdirSync(folder).sort(), ["model", "run.yaml", "text.txt"]);
      const generated = await jsonOf(["generate", target, "A ", "--max-tokens=3"]);
      assert.ok(generated.tokens.length <= 3);
      assert.match(await textOf(args), /^4 steps, 128 tokens in [\d.]+ s: loss [\d.]+\n$/);
    }));
});

describe("tritter bench", { timeout }, () => {
  it("times products and a model", async () => {
    const args = ["bench", jargon, "--size=256", "--batch=1,3", "--max-tokens=4"];
    const { products, model, limits, isa } = await jsonOf(args);
    assert.equal(isa, info().isa);
    assert.ok(limits.readBytesPerSecond > 0);
    const kinds = products.map((product: { batch: number; activations: string }) =>
      `${product.batch} ${product.activations}`
    );
    assert.deepEqual(kinds, ["1 int8", "1 f32", "3 int8", "3 f32"]);
    for (const { milliseconds, gigaOps, batch } of products) {
      assert.ok(Math.abs(gigaOps * milliseconds * 1e6 - 2 * batch * 256 * 256) < 1);
    }
    assert.ok(model.tokensPerSecond > 0 && model.promptTokensPerSecond > 0);
  });
});
