/** The command tritter: pipes that nobody reads, and directories that must not be lost. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { programArguments, runCommand } from "./cli_support.ts";
import { makeModel, withDirectory, writeModel } from "./make_model.ts";

const jargon = fileURLToPath(new URL("../examples/models/bitnet-jargon", import.meta.url));
const timeout = 300_000;
// Windows has no signals, and its pipes end in another way.
const skip = process.platform === "win32";

/** Runs the command with a pipe that is closed: standard output at its first bytes. */
function runUnread(args: readonly string[], closed: "stdout" | "stderr"): Promise<number | null> {
  const child = spawn(process.execPath, programArguments(args), {
    env: { ...process.env, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (closed === "stderr") child.stderr.destroy();
  else child.stdout.once("data", () => child.stdout.destroy());
  child.stdout.resume();
  child.stderr.resume();
  return new Promise((done, fail) => {
    child.on("error", fail);
    child.on("exit", done);
  });
}

describe("pipes", { timeout, skip }, () => {
  it("a reader that has seen enough ends generate without an error", async () => {
    assert.equal(await runUnread(["generate", jargon, "The", "--max-tokens=2000"], "stdout"), 0);
  });

  it("work goes on where nobody reads standard error", async () => {
    await withDirectory(async (folder) => {
      const from = join(folder, "model");
      mkdirSync(from);
      writeModel(from, makeModel({ weights: "floats", mode: "online" }));
      const status = await runUnread(["quantize", from, join(folder, "packed")], "stderr");
      assert.equal(status, 0);
      assert.ok(readdirSync(join(folder, "packed")).includes("config.json"));
    });
  });
});

describe("directories", { timeout }, () => {
  it("a target that is the source or holds it is refused, also through links", async () => {
    await withDirectory(async (folder) => {
      const from = join(folder, "models", "dense");
      mkdirSync(from, { recursive: true });
      writeModel(from, makeModel({ weights: "floats", mode: "online" }));
      const before = readdirSync(from);
      const targets = [from, join(folder, "models"), folder, join(from, "..")];
      if (!skip) {
        symlinkSync(join(folder, "models"), join(folder, "link"));
        targets.push(join(folder, "link"), join(folder, "link", "dense"));
      }
      for (const target of targets) {
        const { status, stderr } = await runCommand(["quantize", from, target, "--overwrite"]);
        assert.equal(status, 1, `${target}: ${stderr}`);
        assert.match(stderr, /target must be another directory than /, target);
        assert.deepEqual(readdirSync(from), before, target);
      }
    });
  });

  it("train refuses an export that it could not write before it begins", async () => {
    await withDirectory(async (folder) => {
      const file = join(folder, "run.yaml");
      writeFileSync(file, "model: { no: such }\n");
      const full = join(folder, "full");
      mkdirSync(full);
      writeFileSync(join(full, "kept.txt"), "kept");
      for (const target of [full, file]) {
        const { status, stderr } = await runCommand(["train", file, `--export=${target}`]);
        assert.equal(status, 1, stderr);
        // What is wrong with the file would be said next.
        assert.match(stderr, /(full|run\.yaml) must/, stderr);
        assert.doesNotMatch(stderr, /model/, stderr);
      }
      assert.deepEqual(readdirSync(full), ["kept.txt"]);
    });
  });

  it("bench refuses sizes that would take all memory", async () => {
    const { status, stderr } = await runCommand(["bench", "--size=16385"]);
    assert.equal(status, 2, stderr);
    assert.match(stderr, /--size must be a whole number from 1 to 16384, got 16385/);
  });
});
