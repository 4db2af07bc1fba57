/** The command tritter: exit statuses, and what an interruption leaves behind. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { loadModel, Safetensors } from "../mod.ts";
import { runCommand } from "./cli_support.ts";
import { makeModel, withDirectory, writeModel } from "./make_model.ts";

const jargon = fileURLToPath(new URL("../examples/models/bitnet-jargon", import.meta.url));
const timeout = 300_000;
// Windows has no signals that a program can be sent and handle.
const skip = process.platform === "win32";

describe("exit statuses", { timeout }, () => {
  it("2 and the usage for a wrong call, with nothing on standard output", async () => {
    const calls = [
      [],
      ["bogus"],
      ["constructor"],
      ["info", "more"],
      ["inspect"],
      ["generate", jargon, "a", "b"],
      ["generate", jargon, "--no-such-option"],
      ["generate", jargon, "--seed"],
      ["generate", jargon, "--seed=one"],
      ["generate", jargon, "--head=large"],
      ["generate", jargon, ""],
      ["bench", "--size=0"],
      ["bench", "--batch=1,x"],
      ["quantize", "from"],
    ];
    for (const call of calls) {
      const { status, stdout, stderr } = await runCommand(call);
      assert.equal(status, 2, `${call}: ${stderr}`);
      assert.equal(stdout, "", `${call}`);
      assert.match(stderr, /usage: tritter /, `${call}`);
    }
  });

  it("1 and one line for what fails, also with --json", async () => {
    const calls = [
      ["inspect", "no-such-thing"],
      ["generate", "no-such-thing", "--json"],
      ["generate", jargon, "--max-tokens=-1"],
      ["quantize", jargon, "no-such-folder/model"],
      ["train", "no-such-file.yaml"],
    ];
    for (const call of calls) {
      const { status, stdout, stderr } = await runCommand(call);
      assert.equal(status, 1, `${call}: ${stderr}`);
      assert.doesNotMatch(stdout, /\{/, `${call}`);
      assert.match(stderr, /^error: [^\n]+\n$/m, `${call}`);
      assert.doesNotMatch(stderr, /\n +at /, `${call}`);
    }
  });

  it("1 and one line for damaged files, with nothing on standard output", () =>
    withDirectory(async (folder) => {
      const at = (name: string) => join(folder, name);
      /** A copy of the model without one file, which gets other bytes, or none. */
      const damaged = (name: string, file: string, bytes?: Uint8Array | string) => {
        cpSync(jargon, at(name), { recursive: true });
        rmSync(join(at(name), file));
        if (bytes !== undefined) writeFileSync(join(at(name), file), bytes);
        return at(name);
      };
      const weights = readFileSync(join(jargon, "model.safetensors"));
      const folders = [
        damaged("no config", "config.json"),
        damaged("broken config", "config.json", "[1"),
        damaged("no weights", "model.safetensors"),
        damaged("short header", "model.safetensors", weights.subarray(0, 1000)),
        damaged("short data", "model.safetensors", weights.subarray(0, weights.length - 1)),
        damaged("huge header", "model.safetensors", new Uint8Array(64).fill(0x7f)),
        join(jargon, "config.json"),
        at("missing"),
      ];
      writeFileSync(at("self.yaml"), "model: &a [*a]");
      const calls = [
        ...folders.flatMap((model) => [
          ["inspect", model],
          ["generate", model, "The"],
          ["quantize", model, at("packed")],
        ]),
        ["inspect", join(at("short header"), "model.safetensors")],
        ["train", at("self.yaml")],
        ["train", folder],
      ];
      const before = readdirSync(folder);
      for (const call of calls) {
        const { status, stdout, stderr } = await runCommand([...call, "--json"]);
        assert.equal(status, 1, `${call}: ${stderr}`);
        assert.equal(stdout, "", `${call}`);
        assert.match(stderr, /^error: [^\n]+\n$/, `${call}`);
      }
      assert.deepEqual(readdirSync(folder), before);
    }));

  it("0 for help", async () => {
    for (const call of [["--help"], ["help"], ["quantize", "--help"]]) {
      const { status, stdout, stderr } = await runCommand(call);
      assert.deepEqual([status, stderr], [0, ""], `${call}`);
      assert.match(stdout, /^usage: tritter /);
    }
  });
});

/** A model that never ends a text. */
function endlessModel(folder: string): string {
  const directory = join(folder, "endless");
  cpSync(jargon, directory, { recursive: true });
  const config = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
  writeFileSync(
    join(directory, "config.json"),
    JSON.stringify({ ...config, eos_token_id: null, max_position_embeddings: 10 ** 6 }),
  );
  return directory;
}

/** So many small layers that quantising them takes a while. */
function longModel(folder: string): string {
  const directory = join(folder, "float");
  mkdirSync(directory);
  writeModel(directory, makeModel({ weights: "floats", mode: "online", layers: 150 }));
  return directory;
}

describe("an interruption", { timeout, skip }, () => {
  it("of generate gives what there is until then, and 130", () =>
    withDirectory(async (folder) => {
      const args = ["generate", endlessModel(folder), "The ", "--max-tokens=1000000", "--json"];
      const { status, stdout, stderr } = await runCommand(args, {
        onProgress: (kill) => void setTimeout(() => kill("SIGINT"), 300),
      });
      assert.equal(status, 130, stderr);
      const found = JSON.parse(stdout);
      assert.equal(found.interrupted, true);
      assert.ok(found.tokens.length > 0 && found.tokens.length < 1_000_000);
    }));

  for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"] as const) {
    it(`of quantize by ${signal} leaves no half-written directory`, () =>
      withDirectory(async (folder) => {
        const from = longModel(folder);
        const to = join(folder, "packed");
        const { status, stderr } = await runCommand(["quantize", from, to], {
          onProgress: (kill) => kill(signal),
        });
        assert.doesNotMatch(stderr, /1050 of 1050/, "it was over before the signal came");
        assert.equal(status, signal === "SIGKILL" ? null : 130);
        const left = readdirSync(folder).filter((name) => name !== "float");
        // A process that is killed cannot tidy up, but the name is free.
        if (signal === "SIGKILL") assert.ok(left.every((name) => /^packed\..+\.part$/.test(name)));
        else assert.deepEqual(left, []);
        const again = await runCommand(["quantize", from, to]);
        assert.equal(again.status, 0, again.stderr);
        using model = await loadModel(to, { tokenizer: false });
        assert.equal(model.config.layers, 150);
      }));
  }

  it("of train ends after the step, with a checkpoint", () =>
    withDirectory(async (folder) => {
      writeFileSync(join(folder, "text.txt"), "The hacker ethic is a belief.\n\n".repeat(50));
      writeFileSync(
        join(folder, "run.yaml"),
        `
model: { vocab_size: 2048, hidden_size: 16, intermediate_size: 32, layers: 1, heads: 2 }
data: { files: [text.txt], tokenizer: ${JSON.stringify(jargon)}, split: paragraph, length: 16 }
trainer:
  steps: 1000000
  batch_size: 2
  learning_rate: 0.003
  checkpoint_directory: checkpoints
`,
      );
      const target = join(folder, "model");
      const args = ["train", join(folder, "run.yaml"), "--export", target, "--json"];
      const { status, stdout, stderr } = await runCommand(args, {
        onProgress: (kill) => kill("SIGINT"),
      });
      assert.equal(status, 130, stderr);
      const { steps, aborted, exported } = JSON.parse(stdout);
      assert.deepEqual([aborted, exported], [true, null]);
      const [checkpoint] = readdirSync(join(folder, "checkpoints"));
      assert.match(checkpoint!, new RegExp(String(steps)));
      using file = Safetensors.open(join(folder, "checkpoints", checkpoint!));
      assert.ok(file.names.length > 0);
    }));
});
