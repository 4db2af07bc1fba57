// Do predicted gradients pay? The same network, trained with a backward pass at every step, and with
// two thirds of the gradients predicted from earlier ones; each at its own best learning rate.
//
//   bun examples/predicted_gradients.ts [--quick] [--svg FILE]
//   deno run --allow-ffi --allow-read --allow-write --allow-env \
//     examples/predicted_gradients.ts [--quick] [--svg FILE]
//
// It learns the next character of this library's own sources, on one thread of plain TypeScript. The
// losses are those of text that was held out, in nats per character.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { adam, momentum } from "./predicted_gradients/optimizers.ts";
import { type Curve, drawCurves } from "./predicted_gradients/plot.ts";
import {
  countBackwardPasses,
  findRate,
  type Method,
  type Outcome,
  type Point,
  predictingMethods,
  type Setting,
  train,
} from "./predicted_gradients/runs.ts";
import { CharacterTask, corpusOf } from "./predicted_gradients/task.ts";

const root = fileURLToPath(new URL("../", import.meta.url));

/** The seed that learning rates are chosen by, and those that results are measured by. */
const SEARCH_SEED = 1;
const SEEDS = [2, 3, 4];

interface Options {
  quick: boolean;
  svg: string;
}

function readOptions(args: readonly string[]): Options {
  const options: Options = { quick: false, svg: join(tmpdir(), "predicted_gradients.svg") };
  for (let at = 0; at < args.length; at++) {
    if (args[at] === "--quick") options.quick = true;
    else if (args[at] === "--svg" && at + 1 < args.length) options.svg = args[++at]!;
    else throw new Error(`expected --quick or --svg FILE, got "${args[at]}"`);
  }
  return options;
}

/** The TypeScript of the library, one file after the other. */
function readText(): string {
  const names = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.endsWith("symbols.ts")).sort();
  return names.map((name) => readFileSync(join(root, "src", name), "utf8")).join("\n");
}

const mean = (values: readonly number[]) =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** The mean of several runs of the same steps, moment by moment. */
function meanPoints(outcomes: readonly Outcome[]): Point[] {
  const count = Math.min(...outcomes.map(({ points }) => points.length));
  return Array.from({ length: count }, (_, at) => ({
    backwardPasses: outcomes[0]!.points[at]!.backwardPasses,
    milliseconds: mean(outcomes.map(({ points }) => points[at]!.milliseconds)),
    loss: mean(outcomes.map(({ points }) => points[at]!.loss)),
  }));
}

interface Result {
  method: Method;
  rate: number;
  outcomes: Outcome[];
}

/** Finds each method's learning rate, then trains them in turns, so that all meet the same machine. */
function compare(setting: Setting, methods: readonly Method[], rate: number, quick: boolean) {
  const results: Result[] = methods.map((method) => ({
    method,
    rate: quick ? rate : findRate((each) => train(setting, method, each, SEARCH_SEED).loss, rate),
    outcomes: [],
  }));
  for (const seed of quick ? SEEDS.slice(0, 1) : SEEDS) {
    for (const result of results) {
      result.outcomes.push(train(setting, result.method, result.rate, seed));
    }
  }
  return results;
}

function printRow(cells: readonly string[]): void {
  const widths = [30, 8, 10, 9, 10, 16, 8];
  console.log(
    cells.map((cell, at) => at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!)).join(
      "",
    ),
  );
}

function printResult({ method, rate, outcomes }: Result): void {
  const losses = outcomes.map(({ loss }) => loss);
  const spread = losses.length < 2
    ? ""
    : ` ± ${((Math.max(...losses) - Math.min(...losses)) / 2).toFixed(3)}`;
  const cosines = outcomes.map(({ cosine }) => cosine).filter((cosine) => cosine !== undefined);
  printRow([
    method.name,
    String(method.steps),
    String(outcomes[0]!.backwardPasses),
    (mean(outcomes.map(({ milliseconds }) => milliseconds)) / 1000).toFixed(2),
    String(Number(rate.toPrecision(3))),
    mean(losses).toFixed(3) + spread,
    cosines.length === 0 ? "-" : mean(cosines).toFixed(2),
  ]);
}

const { quick, svg } = readOptions(process.argv.slice(2));
const steps = quick ? 40 : 1040;
const corpus = corpusOf(readText());
const predicting = predictingMethods(steps);
const methods: Method[] = [
  { name: "plain, a pass at every step", steps },
  { name: "plain, as many passes as these:", steps: countBackwardPasses(predicting[0]!) },
  ...predicting,
];
const optimizers = [
  { name: "Adam", optimizer: adam, rate: 0.004 },
  { name: "SGD with momentum 0.9", optimizer: momentum, rate: 0.1 },
];

for (const { name, optimizer, rate } of optimizers) {
  const setting: Setting = {
    task: (seed) => new CharacterTask(corpus, seed),
    optimizer,
    windows: quick ? [64, 256] : [512, 4096],
    points: quick ? 4 : 20,
  };
  const results = compare(setting, methods, rate, quick);
  console.log(`\n${name}`);
  printRow(["", "steps", "backward", "seconds", "rate", "loss", "cosine"]);
  results.forEach(printResult);
  if (name !== "Adam") continue;
  const curves: Curve[] = results.map(({ method, outcomes }) => ({
    name: method.name,
    points: meanPoints(outcomes),
  }));
  writeFileSync(svg, drawCurves(`Held-out loss, ${name}, each at its best learning rate`, curves));
  console.error(`The curves are in ${svg}`);
}
