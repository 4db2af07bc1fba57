/** Runs that are killed and go on as if nothing had happened. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  Safetensors,
  TokenDataset,
  TrainableTransformer,
  Trainer,
  type TrainerHook,
  type TrainerOptions,
  writeSafetensors,
} from "../mod.ts";
import { withDirectory } from "./make_model.ts";
import { assertSame, assertThrowsCode, seeded } from "./support.ts";
import { ToyModel, ToyOptimizer, toyTokens } from "./toy_model.ts";
import { runOptions } from "./training_child.ts";

const child = fileURLToPath(new URL("./training_child.ts", import.meta.url));

/** Starts the same run in a process of its own. */
function startRun(directory: string): ChildProcess {
  const flags = "Deno" in globalThis ? ["run", "-A"] : [];
  return spawn(process.execPath, [...flags, child, directory], { stdio: "inherit" });
}

function ended(run: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => run.on("exit", (status) => resolve(status)));
}

/** The metrics without the times, which differ from run to run. */
function readMetrics(directory: string): unknown[] {
  const text = readFileSync(join(directory, "metrics.jsonl"), "utf8");
  return text.trimEnd().split("\n").map((line) => {
    const { seconds: _seconds, tokensPerSecond: _rate, ...rest } = JSON.parse(line);
    return rest;
  });
}

/** Every number of the last checkpoint, and what it says of the run. */
function readLast(directory: string): { arrays: Map<string, unknown>; run: unknown } {
  const folder = join(directory, "checkpoints");
  const name = readdirSync(folder).filter((name) => name.endsWith(".safetensors")).sort().at(-1)!;
  using file = Safetensors.open(join(folder, name));
  const { seconds: _, ...run } = JSON.parse(file.metadata.get("tritter.training")!);
  return { arrays: new Map(file.names.map((name) => [name, file.read(name)])), run };
}

describe("a run that is killed", () => {
  it(
    "goes on bit by bit as if it had not been",
    { timeout: 120_000 },
    () =>
      withDirectory(async (directory) => {
        const whole = join(directory, "whole");
        const given = runOptions(whole);
        const trainer = new Trainer(given);
        const result = await trainer.train();

        const killed = join(directory, "killed");
        const random = seeded(5);
        let kills = 0;
        const folder = join(killed, "checkpoints");
        const finished = () =>
          existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith("s")).sort() : [];
        // On a machine that is busy the first ones may die before there is a checkpoint.
        for (let attempt = 0; attempt < 6 || finished().length === 0; attempt += 1) {
          const run = startRun(killed);
          const status = ended(run);
          const seen = join(killed, "metrics.jsonl");
          const changeOf = () => existsSync(seen) ? statSync(seen).mtimeMs : 0;
          const before = changeOf();
          // Wherever it is once it has begun: in a step, in a checkpoint, between the two.
          while (changeOf() === before && run.exitCode === null) await sleep(1);
          await sleep((40 + 20 * attempt) * random());
          if (run.exitCode === null) {
            run.kill("SIGKILL");
            kills += 1;
          }
          await status;
        }
        assert.ok(kills >= 2, `it was killed ${kills} times only`);
        // As if it had been killed while it wrote.
        const last = finished().at(-1)!;
        const part = `${last}.${crypto.randomUUID()}.part`;
        writeFileSync(join(folder, part), readFileSync(join(folder, last)).subarray(0, 1000));
        assert.equal(await ended(startRun(killed)), 0);

        assert.deepEqual(readMetrics(killed), readMetrics(whole));
        const expected = readLast(whole);
        const actual = readLast(killed);
        assert.deepEqual(actual.run, expected.run);
        assert.deepEqual([...actual.arrays.keys()], [...expected.arrays.keys()]);
        for (const [name, values] of expected.arrays) {
          assertSame(actual.arrays.get(name) as Float32Array, values as Float32Array, name);
        }
        for (const { name, data } of given.model.parameters) {
          assertSame(expected.arrays.get(`parameter.${name}`) as Float32Array, data);
        }
        assert.equal((readMetrics(killed).at(-1) as { loss: number }).loss, result.loss);
        assert.ok(!readdirSync(folder).some((name) => name.endsWith(".part")));
      }),
  );
});

const data = TokenDataset.fromTokens(toyTokens(600, 8, 1), 8);

function options(directory: string, more: Partial<TrainerOptions> = {}): TrainerOptions {
  return {
    model: new ToyModel(8),
    data,
    optimizer: new ToyOptimizer(),
    learningRate: 0.3,
    steps: 20,
    batchSize: 2,
    checkpointDirectory: join(directory, "run"),
    ...more,
  };
}

const names = (directory: string) => readdirSync(join(directory, "run")).sort();

describe("a transformer", () => {
  it("goes on bit by bit from a checkpoint, with AdamW and a schedule", () =>
    withDirectory(async (directory) => {
      const sizes = { vocabSize: 40, hiddenSize: 32, intermediateSize: 64, layers: 2, heads: 4 };
      const texts = TokenDataset.fromTokens(toyTokens(3000, 40, 3), 24);
      const run = (more: Partial<TrainerOptions>): TrainerOptions => ({
        model: new TrainableTransformer(sizes, { seed: 2 }),
        data: texts,
        optimizer: { name: "adamw", weightDecay: 0.1 },
        learningRate: 0.01,
        schedule: "cosine",
        warmupSteps: 3,
        steps: 24,
        batchSize: 4,
        accumulation: 2,
        ...more,
      });
      const whole = run({});
      const trainer = new Trainer(whole);
      const { loss } = await trainer.train();
      assert.ok(loss < trainer.losses[0]![1] - 0.5);
      const stop = new AbortController();
      const checkpointDirectory = join(directory, "run");
      const first = new Trainer(run({
        checkpointDirectory,
        signal: stop.signal,
        hooks: [{ name: "stop", afterStep: ({ step }) => void (step === 10 && stop.abort()) }],
      }));
      assert.equal((await first.train()).steps, 11);
      // Another model: everything that counts comes from the checkpoint.
      const model = new TrainableTransformer(sizes, { seed: 3 });
      const rest = new Trainer(
        run({ model, checkpointDirectory, resume: true, hooks: [{ name: "stop" }] }),
      );
      await rest.train();
      assert.deepEqual(rest.losses, trainer.losses);
      for (const [index, { data, name }] of whole.model.parameters.entries()) {
        assertSame(model.parameters[index]!.data, data, name);
      }
    }));
});

describe("checkpoints", () => {
  it("are kept to the newest few", () =>
    withDirectory(async (directory) => {
      await new Trainer(options(directory, { checkpointEvery: 3, keepCheckpoints: 2 })).train();
      assert.deepEqual(names(directory), [
        "checkpoint-00000018.safetensors",
        "checkpoint-00000020.safetensors",
      ]);
    }));

  it("are written at the end, and when the signal ends a run", () =>
    withDirectory(async (directory) => {
      const controller = new AbortController();
      const stop: TrainerHook = {
        name: "stop",
        afterStep: ({ step }) => void (step === 6 && controller.abort()),
      };
      const { signal } = controller;
      const first = await new Trainer(options(directory, { hooks: [stop], signal })).train();
      assert.deepEqual([first.steps, first.aborted], [7, true]);
      assert.deepEqual(names(directory), ["checkpoint-00000007.safetensors"]);
      const rest = new Trainer(options(directory, { hooks: [stop], resume: true }));
      assert.equal(rest.step, 7);
      const whole = new Trainer(options(join(directory, "other")));
      assert.equal((await rest.train()).loss, (await whole.train()).loss);
      assert.deepEqual(rest.losses, whole.losses);
      // Nothing is left to do.
      const done = await new Trainer(options(directory, { hooks: [stop], resume: true })).train();
      assert.deepEqual([done.steps, done.loss, done.aborted], [20, whole.losses[19]![1], false]);
    }));

  it("keep what hooks remember", () =>
    withDirectory(async (directory) => {
      const counter = () => {
        let seen = 0;
        let sums = new Float32Array(3);
        const hook: TrainerHook = {
          name: "counter",
          afterStep({ loss }) {
            seen += 1;
            sums[1]! += loss;
          },
          state: () => ({ arrays: { "the.sums": sums }, json: { seen } }),
          loadState({ arrays, json }) {
            sums = Float32Array.from(arrays!["the.sums"] as Float32Array);
            ({ seen } = json as { seen: number });
          },
        };
        return { hook, read: () => [seen, sums[1]] };
      };
      const whole = counter();
      await new Trainer(options(join(directory, "whole"), { hooks: [whole.hook] })).train();
      const first = counter();
      await new Trainer(options(directory, { steps: 9, hooks: [first.hook] })).train();
      const second = counter();
      await new Trainer(options(directory, { hooks: [second.hook], resume: true })).train();
      assert.deepEqual(second.read(), whole.read());
    }));

  it("are not mixed with those of another run", () =>
    withDirectory(async (directory) => {
      const refused = (more: Partial<TrainerOptions>, code: string, message: RegExp) =>
        assertThrowsCode(() => new Trainer(options(directory, more)), code, message);
      await new Trainer(options(directory, { steps: 4 })).train();
      refused({}, "invalid_option", /resume be true/);
      refused({ resume: true, seed: 1 }, "invalid_option", /seed 0, got 1/);
      refused({ resume: true, batchSize: 4 }, "invalid_option", /batchSize 2, got 4/);
      refused({ resume: true, accumulation: 2 }, "invalid_option", /accumulation 1, got 2/);
      refused({ resume: true, clipNorm: 2 }, "invalid_option", /clipNorm 1, got 2/);
      const other = TokenDataset.fromTokens(toyTokens(700, 8, 1), 8);
      refused({ resume: true, data: other }, "invalid_option", /rows/);
      refused({ resume: true, hooks: [{ name: "new" }] }, "invalid_option", /\[\], got \[new\]/);
      const model = new ToyModel(9);
      refused({ resume: true, model }, "invalid_format", /toy\.table\.weight.*\[9, 9\].*\[8, 8\]/);
      // A longer run is the same run.
      assert.equal(new Trainer(options(directory, { resume: true, steps: 40 })).step, 4);
    }));

  it("that are damaged are refused, and nothing changes", () =>
    withDirectory(async (directory) => {
      await new Trainer(options(directory, { steps: 4 })).train();
      const path = join(directory, "run", "checkpoint-00000004.safetensors");
      const good = readFileSync(path);
      const refused = (bytes: Uint8Array | null, message: RegExp, code = "invalid_format") => {
        if (bytes !== null) writeFileSync(path, bytes);
        const given = options(directory, { resume: true });
        const before = given.model.parameters.map(({ data }) => new Float32Array(data));
        assertThrowsCode(() => new Trainer(given), code, message);
        given.model.parameters.forEach(({ data }, index) => assertSame(data, before[index]!));
      };
      for (const length of [0, 7, 8, 100, good.length - 1]) {
        refused(
          good.subarray(0, length),
          /checkpoint-00000004|must/,
          length === 0 ? undefined : "invalid_format",
        );
      }
      /** Writes the checkpoint with something else in it. */
      const forge = (
        change: (tensors: Record<string, unknown>, json: Record<string, unknown>) => void,
      ) => {
        writeFileSync(path, good);
        const tensors: Record<string, never> = {};
        using file = Safetensors.open(path);
        for (const name of file.names) {
          tensors[name] = { shape: file.tensor(name).shape, data: file.read(name) } as never;
        }
        const json = JSON.parse(file.metadata.get("tritter.training")!);
        change(tensors, json);
        const metadata = { "tritter.training": JSON.stringify(json) };
        const forged = join(directory, "forged");
        writeSafetensors(forged, tensors, { metadata });
        renameSync(forged, path);
      };
      forge((_, json) => json.format = 2);
      refused(null, /format 1, got 2/);
      forge((_, json) => json.step = -1);
      refused(null, /step must be a count, got -1/);
      forge((_, json) => json.step = 5);
      refused(null, /losses of its 5 steps/);
      forge((_, json) => json.optimizerSteps = 5);
      refused(null, /must have made 5 steps, got 4/);
      forge((_, json) => json.hooks = 1);
      refused(null, /hooks must be an object/);
      forge((_, json) => json.seconds = "1");
      refused(null, /seconds must be a number/);
      forge((tensors) => delete tensors["parameter.toy.bias"]);
      refused(null, /must have the tensor parameter\.toy\.bias/);
      forge((tensors) => tensors["parameter.more"] = tensors["parameter.toy.bias"]);
      refused(null, /no parameter for the tensor parameter\.more/);
      forge((tensors) => tensors["optimizer.steps"] = { shape: [1], data: Int32Array.of(4) });
      refused(null, /optimizer\.steps must be F32/);
      forge((tensors) => delete tensors["history.losses"]);
      refused(null, /losses of its 4 steps/);
      writeSafetensors(path, {}, { metadata: { format: "pt" } });
      refused(null, /metadata must have tritter\.training/);
      for (const text of ["[", "[]", "7"]) {
        writeSafetensors(path, {}, { metadata: { "tritter.training": text } });
        refused(null, /tritter\.training must/);
      }
      writeFileSync(path, good);
      assert.equal(new Trainer(options(directory, { resume: true })).step, 4);
    }));

  it("need a directory that can be written", () =>
    withDirectory((directory) => {
      const file = join(directory, "run");
      writeFileSync(file, "");
      assertThrowsCode(() => new Trainer(options(directory)), "io", /directory/);
      rmSync(file);
      mkdirSync(join(file, "checkpoint-00000003.safetensors"), { recursive: true });
      assertThrowsCode(() => new Trainer(options(directory, { resume: true })), "io");
    }));
});
