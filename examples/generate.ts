// Loads a BitNet model, streams text, and shows what ternary weights cost and save.
//
//   bun examples/generate.ts --prompt "A kluge is " --temperature 0.8 --seed 3
//   deno run -A examples/generate.ts path/to/a/model --max-tokens 200

import process from "node:process";
import { parseArgs } from "node:util";
import {
  getThreads,
  InferenceEngine,
  info,
  loadModel,
  PackedTernary,
  Tensor,
  type TernaryModel,
  TritterError,
} from "tritter-accel";

const USAGE = `usage: generate [directory] [--prompt text] [--max-tokens n]
                [--temperature t] [--seed n] [--threads n]`;

function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      prompt: { type: "string", default: "The hacker " },
      "max-tokens": { type: "string", default: "120" },
      temperature: { type: "string", default: "0.7" },
      seed: { type: "string", default: "7" },
      threads: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  return {
    directory: positionals[0] ?? new URL("./models/bitnet-jargon", import.meta.url),
    prompt: values.prompt,
    maxTokens: Number(values["max-tokens"]),
    temperature: Number(values.temperature),
    seed: Number(values.seed),
    threads: values.threads === undefined ? undefined : Number(values.threads),
  };
}

/** Shows one line that is written again and again, or, where lines stay, only the last state. */
function showProgress(loaded: number, total: number): void {
  const done = loaded === total;
  if (!process.stderr.isTTY && !done) return;
  const start = process.stderr.isTTY ? "\r" : "";
  const percent = Math.round(100 * loaded / total);
  process.stderr.write(`${start}Loading ${megabytes(total)} ${percent} %${done ? "\n" : ""}`);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Streams the text; returns how many tokens a second came after the first. */
async function streamText(
  model: TernaryModel,
  { prompt, ...options }: { prompt: string; maxTokens: number; temperature: number; seed: number },
): Promise<number> {
  const generated = model.generate(prompt, options);
  process.stdout.write(`\n${prompt}`);
  let tokens = 0;
  let start = 0;
  for await (const { text } of generated) {
    if (tokens === 0) start = performance.now();
    tokens += 1;
    process.stdout.write(text);
  }
  process.stdout.write("\n\n");
  return tokens < 2 ? NaN : (tokens - 1) * 1000 / (performance.now() - start);
}

/** A product of fp32 weights and a vector as one would write it: four sums at a time. */
function plainProduct(weights: Float32Array, x: Float32Array, output: Float32Array): void {
  const cols = x.length;
  for (let row = 0; row < output.length; row++) {
    const start = row * cols;
    let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0];
    for (let col = 0; col < cols; col += 4) {
      sum0 += weights[start + col]! * x[col]!;
      sum1 += weights[start + col + 1]! * x[col + 1]!;
      sum2 += weights[start + col + 2]! * x[col + 2]!;
      sum3 += weights[start + col + 3]! * x[col + 3]!;
    }
    output[row] = sum0 + sum1 + sum2 + sum3;
  }
}

/** Medians in milliseconds of three ways to multiply a vector by the same matrix, in turns. */
function timeProducts(size: number): { ternary: number; dense: number; plain: number } {
  const floats = Float32Array.from({ length: size * size }, (_, index) => Math.sin(index * index));
  using packed = PackedTernary.fromWeights(floats, [size, size]);
  const weights = packed.toFloat32();
  const matrix = Tensor.from(weights, [size, size]);
  const x = Float32Array.from({ length: size }, (_, index) => Math.cos(index));
  const row = Tensor.from(x, [1, size]);
  const engine = new InferenceEngine();
  const out = new Float32Array(size);
  const ways = {
    ternary: () => void packed.matmul(x, { activations: "int8", out }),
    dense: () => void engine.linear(row, matrix),
    plain: () => plainProduct(weights, x, out),
  };
  const times = { ternary: [] as number[], dense: [] as number[], plain: [] as number[] };
  // Several calls a turn, as in a program that goes on computing: the first call of a turn finds the
  // caches full of the other ways' weights and the threads asleep, and the median passes it over.
  for (let round = 0; round < 20; round++) {
    for (const name of ["ternary", "dense", "plain"] as const) {
      for (let call = 0; call < 6; call++) {
        const start = performance.now();
        ways[name]();
        // The first rounds warm up the compilers.
        if (round >= 5) times[name].push(performance.now() - start);
      }
    }
  }
  return {
    ternary: median(times.ternary),
    dense: median(times.dense),
    plain: median(times.plain),
  };
}

function printTable(model: TernaryModel, tokensPerSecond: number): void {
  const size = 2560;
  const { ternary, dense, plain } = timeProducts(size);
  const fp32 = 4 * model.parameterCount;
  const times = (other: number) => `${(other / ternary).toFixed(1)}x the ternary time`;
  const threads = getThreads();
  const speed = Number.isNaN(tokensPerSecond) ? "-" : `${tokensPerSecond.toFixed(0)} tokens/s`;
  const rows: [string, string, string][] = [
    ["speed", speed, `${info().isa}, ${threads} thread(s)`],
    [
      "weights",
      megabytes(model.memoryBytes),
      `${megabytes(fp32)} as fp32, ${(fp32 / model.memoryBytes).toFixed(1)}x less`,
    ],
    [`product of one row with ${size} x ${size} weights`, "", "median of 90, six calls a turn"],
    ["  ternary, int8 activations", `${ternary.toFixed(3)} ms`, `${threads} thread(s)`],
    ["  fp32, this library", `${dense.toFixed(3)} ms`, `${times(dense)}, ${threads} thread(s)`],
    ["  fp32, TypeScript loop", `${plain.toFixed(3)} ms`, `${times(plain)}, 1 thread`],
  ];
  const first = Math.max(...rows.filter(([, value]) => value).map(([name]) => name.length));
  for (const [name, value, note] of rows) {
    console.log(
      value ? `${name.padEnd(first)}  ${value.padStart(13)}  ${note}` : `${name} (${note})`,
    );
  }
  console.log("The fp32 weights hold the same numbers; no tuned BLAS was measured.");
}

async function main(): Promise<void> {
  const { directory, threads, ...request } = readArguments();
  using model = await loadModel(directory, { threads, onProgress: showProgress });
  const { architecture, layers, hiddenSize } = model.config;
  const millions = (model.parameterCount / 1e6).toFixed(1);
  console.log(`${architecture}, ${millions} M parameters, ${layers} layers of width ${hiddenSize}`);
  printTable(model, await streamText(model, request));
}

try {
  await main();
} catch (error) {
  // What a user can cause, a missing file or a wrong option, needs no stack trace.
  const isUsage = error instanceof TypeError && "code" in error &&
    String(error.code).startsWith("ERR_PARSE_ARGS");
  if (!isUsage && !(error instanceof TritterError)) throw error;
  console.error(isUsage ? `${error.message}\n${USAGE}` : `error: ${error.message}`);
  process.exitCode = 1;
}
