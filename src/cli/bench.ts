// tritter bench: how fast this machine multiplies and, given a model, generates.

import { getThreads, info } from "../device.ts";
import { loadModel } from "../inference/load.ts";
import { measureLimits } from "../limits.ts";
import { PackedTernary } from "../packing/packed_ternary.ts";
import { setImmediate } from "node:timers/promises";
import { type Command, type Context, numberOf, numbersOf, UsageError } from "./command.ts";
import { median, table } from "./text.ts";

const ROUNDS = 15;
/** Tokens in a prompt. */
const PROMPT = 64;
const ACTIVATIONS = ["int8", "f32"] as const;

interface ProductTime {
  batch: number;
  activations: typeof ACTIVATIONS[number];
  /** Median of the rounds. */
  milliseconds: number;
  /** Multiplications and additions, in billions a second. */
  gigaOps: number;
}

/** Median times of products with prepared weights, the kinds of activations in turns. */
async function timeProducts(size: number, batches: number[], context: Context) {
  const floats = Float32Array.from({ length: size * size }, (_, index) => Math.sin(index * index));
  using weights = PackedTernary.fromWeights(floats, [size, size]);
  const times: ProductTime[] = [];
  for (const batch of batches) {
    context.progress(`Products of ${size} x ${size}, batch ${batch}`);
    const x = Float32Array.from({ length: batch * size }, (_, index) => Math.cos(index));
    const out = new Float32Array(batch * size);
    const rounds: Record<typeof ACTIVATIONS[number], number[]> = { int8: [], f32: [] };
    for (let round = 0; round < ROUNDS; round += 1) {
      await setImmediate();
      context.signal.throwIfAborted();
      for (const activations of ACTIVATIONS) {
        const start = performance.now();
        weights.matmul(x, { activations, out });
        rounds[activations].push(performance.now() - start);
      }
    }
    for (const activations of ACTIVATIONS) {
      const milliseconds = median(rounds[activations]);
      const gigaOps = 2 * batch * size * size / milliseconds / 1e6;
      times.push({ batch, activations, milliseconds, gigaOps });
    }
  }
  return times;
}

/** Tokens a second of a model: a prompt at once, then one token after another. */
async function timeModel(directory: string, maxTokens: number, context: Context) {
  context.progress(`Loading ${directory}`);
  using model = await loadModel(directory, { tokenizer: false });
  const { vocabSize } = model.config;
  const prompt = Uint32Array.from({ length: PROMPT }, (_, at) => at % vocabSize);
  using cache = model.createCache({ maxTokens: PROMPT + maxTokens });
  const start = performance.now();
  model.forward(prompt, { cache, logits: "last" });
  const first = performance.now();
  context.progress("One token after another");
  // Which tokens they are makes no difference, and none of them ends the text.
  for (let token = 0; token < maxTokens; token += 1) {
    model.forward([token % vocabSize], { cache });
    await setImmediate();
    context.signal.throwIfAborted();
  }
  return {
    directory,
    promptTokensPerSecond: PROMPT * 1000 / (first - start),
    tokensPerSecond: maxTokens * 1000 / (performance.now() - first),
  };
}

/** Weights of 16384 x 16384 take 1 GiB while they are floats. */
const SIZE_MAX = 16384;

/** A number that an option gives, whole and not too large. */
function sizeOf(name: string, value: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= SIZE_MAX) return value;
  throw new UsageError(`--${name} must be a whole number from 1 to ${SIZE_MAX}, got ${value}`);
}

/** Measures products, limits and a model. */
export const bench: Command = {
  summary: "how fast this machine multiplies and, given a model, generates",
  usage: `[model directory] [options]
  --size N          rows and columns of the weights (4096)
  --batch N,N       rows of the activations (1,32)
  --max-tokens N    tokens to generate with the model (64)
  --json            {isa, threads, limits, products, model}`,
  arguments: [0, 1],
  options: {
    size: { type: "string" },
    batch: { type: "string" },
    "max-tokens": { type: "string" },
  },
  async run([directory], values, context) {
    const size = sizeOf("size", numberOf(values, "size") ?? 4096);
    const maxTokens = sizeOf("max-tokens", numberOf(values, "max-tokens") ?? 64);
    const batches = (numbersOf(values, "batch") ?? [1, 32]).map((rows) => sizeOf("batch", rows));
    const limits = {
      readBytesPerSecond: measureLimits({ kind: "read", sizeBytes: 2 ** 26 }).median,
      dotOpsPerSecond: measureLimits({ kind: "dot" }).median,
      multiplyAddOpsPerSecond: measureLimits({ kind: "multiplyAdd" }).median,
    };
    const products = await timeProducts(size, batches, context);
    const model = directory === undefined ? null : await timeModel(directory, maxTokens, context);
    context.write(table([
      [`${size} x ${size}`, "activations", "ms", "Gop/s"],
      ...products.map(({ batch, activations, milliseconds, gigaOps }) => [
        `batch ${batch}`,
        activations,
        milliseconds.toFixed(3),
        gigaOps.toFixed(1),
      ]),
    ]));
    if (model !== null) {
      const [prompt, tokens] = [model.promptTokensPerSecond, model.tokensPerSecond];
      context.write(
        `\n${directory}: ${prompt.toFixed(1)} tokens a second in a prompt of ${PROMPT}, ` +
          `${tokens.toFixed(1)} one after another\n`,
      );
    }
    const { isa } = info();
    return { isa, threads: getThreads(), limits, size, products, model };
  },
};
