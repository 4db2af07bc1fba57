// A whole model: the shape of BitNet b1.58 2B4T with random weights, which cost as much time as the
// real ones. Tokens one by one are held to the memory that they read, a prompt to the dot products
// of its linear layers.

import process from "node:process";
import { type HeadKind, loadModel, type TernaryModel } from "../../mod.ts";
import { randomModel, SHAPES } from "../models/random_model.ts";
import { addRow, type Context, createContext } from "./context.ts";
import { type Effort, FULL, interleave, Probe, QUICK, Timed } from "./interleave.ts";
import type { Row } from "./row.ts";
import { median } from "./statistics.ts";

/** More than any cache holds, as the model is. */
const READ_BYTES = 2 ** 29;

/** Several tokens a turn, so that most follow another as they do in a text. */
const TOKENS_MS = 250;

/** A prompt takes seconds. */
const PROMPT_ROUNDS = 3;

/** A token of a growing text, as a program gets it. */
async function measureTokens(context: Context, model: TernaryModel, name: string): Promise<void> {
  const { quick } = context.effort;
  const tokens = model.generate([1, 2, 3], { maxTokens: 2 ** 16 });
  const timed = new Timed(async () => void await tokens.next());
  const probe = new Probe("read", quick ? 2 ** 22 : READ_BYTES);
  const effort: Effort = quick ? context.effort : { ...context.effort, sample_ms: TOKENS_MS };
  const load = await interleave([timed, probe], effort);
  await tokens.return();
  const size_bytes = model.ternaryBytes + model.headBytes;
  const rate = size_bytes / median(timed.samples_us) / 1000;
  const limit = probe.result.median / 1e9;
  addRow(context, timed, {
    suite: "model",
    name,
    subject: "tritter-accel",
    batch: 1,
    activations: "int8",
    rate,
    rate_unit: "GB/s",
    limit,
    limit_unit: "GB/s",
    share: rate / limit,
    note: `reads ${(size_bytes / 1e6).toFixed(0)} MB: ternary weights and head`,
  }, load);
}

/** A prompt with the logits of its last token; all its time counts against the linear layers alone. */
async function measurePrompt(context: Context, model: TernaryModel, title: string): Promise<void> {
  const { quick } = context.effort;
  const { vocabSize } = model.config;
  const count = quick ? 64 : 512;
  const ids = Uint32Array.from({ length: count }, (_, index) => index * 7919 % vocabSize);
  const timed = new Timed(() => void model.forward(ids, { logits: "last" }));
  const probe = new Probe("dot");
  const effort: Effort = quick
    ? context.effort
    : { ...context.effort, rounds: PROMPT_ROUNDS, warmup_ms: 0 };
  const load = await interleave([timed, probe], effort);
  const rate = 2 * count * linearWeights(model) / median(timed.samples_us) / 1000;
  const limit = probe.result.median / 1e9;
  addRow(context, timed, {
    suite: "model",
    name: `${title}, prompt of ${count} tokens`,
    subject: "tritter-accel",
    batch: count,
    activations: "int8",
    rate,
    rate_unit: "GOP/s",
    limit,
    limit_unit: "GOP/s",
    share: rate / limit,
    note: "operations of the linear layers over the time of everything",
  }, load);
}

function linearWeights({ config }: TernaryModel): number {
  const { hiddenSize: hidden, intermediateSize: inner, layers, heads, kvHeads, headDim } = config;
  return layers * hidden * (2 * heads * headDim + 2 * kvHeads * headDim + 3 * inner);
}

/** Makes the model if it is not there, and measures it on this runtime. */
export async function measureModel({ quick }: { quick: boolean }): Promise<Row[]> {
  const context = createContext(quick ? QUICK : FULL, undefined, false);
  const shape: keyof typeof SHAPES = quick ? "tiny" : "bitnet-2b";
  const directory = randomModel(shape);
  const title = quick ? "Tiny shape" : "BitNet 2B-4T shape";
  const heads: [HeadKind, string][] = [["stored", "bf16 head"], ["int8", "int8 head"]];
  for (const [head, words] of heads) {
    using model = await loadModel(directory, { tokenizer: false, head });
    await measureTokens(context, model, `${title}, one token, ${words}`);
    if (head === "stored") await measurePrompt(context, model, title);
  }
  return context.rows;
}

if (import.meta.main) {
  console.log(await measureModel({ quick: process.argv.includes("--quick") }));
}
