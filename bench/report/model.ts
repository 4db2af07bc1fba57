// A whole model of the shape of BitNet b1.58 2B4T, with random weights: generating a token, which
// reads all weights once, and a prompt, which is all dot products.

import { loadModel, type LoadModelOptions, type TernaryModel } from "../../mod.ts";
import { randomModel } from "./random_model.ts";
import { addRow, type Context } from "./context.ts";
import { type Effort, interleave, Probe, Timed, type Turn } from "./interleave.ts";
import { median } from "./statistics.ts";

const SUITE = "model";

/** Far more than any cache holds. */
const MEMORY_BYTES = 2 ** 30;

const PROMPT_TOKENS = 512;
const TOKENS_PER_ROUND = 8;

/** The model as it is by default, and what its options make of it. */
const VARIANTS: readonly (LoadModelOptions & { label: string })[] = [
  { label: "as stored" },
  { label: "int8 head", head: "int8" },
  { label: "int8 head, base3", head: "int8", layout: "base3" },
];

/** Times the tokens of a generation one by one, but the first, which also reads the prompt. */
class Decoding implements Turn {
  readonly samples_us: number[] = [];
  readonly #model: TernaryModel;

  constructor(model: TernaryModel) {
    this.#model = model;
  }

  async take(): Promise<void> {
    const options = { maxTokens: TOKENS_PER_ROUND + 1, temperature: 0 };
    let last: number | undefined;
    for await (const _ of this.#model.generate([1, 2, 3, 4], options)) {
      const now = performance.now();
      if (last !== undefined) this.samples_us.push((now - last) * 1000);
      last = now;
    }
  }

  reset(): void {
    this.samples_us.length = 0;
  }
}

async function measureDecoding(
  context: Context,
  models: readonly TernaryModel[],
): Promise<void> {
  const name = "one token";
  if (!context.wants(SUITE, name)) return;
  const turns = models.map((model) => new Decoding(model));
  const probe = new Probe("read", context.effort.quick ? 2 ** 22 : MEMORY_BYTES);
  const load = await interleave([probe, ...turns], context.effort);
  const limit = probe.result.median / 1e9;
  for (const [index, model] of models.entries()) {
    const bytes = model.ternaryBytes + model.headBytes;
    const rate = bytes / median(turns[index]!.samples_us) / 1000;
    addRow(context, turns[index]!.samples_us, {
      suite: SUITE,
      name: `${name}, ${VARIANTS[index]!.label}`,
      subject: "tritter-accel",
      rate,
      rate_unit: "GB/s",
      limit,
      limit_unit: "GB/s",
      share: rate / limit,
      note: `reads ${(bytes / 1e6).toFixed(0)} MB of weights and head`,
    }, load);
  }
}

async function measurePrompt(context: Context, model: TernaryModel): Promise<void> {
  const tokens = context.effort.quick ? 32 : PROMPT_TOKENS;
  const name = `a prompt of ${tokens} tokens`;
  if (!context.wants(SUITE, name)) return;
  const ids = Uint32Array.from(
    { length: tokens },
    (_, index) => (index * 7919 + 1) % model.config.vocabSize,
  );
  const prompt = new Timed(() => void model.forward(ids, { logits: "last" }));
  const probe = new Probe("dot");
  // A prompt takes a second or so; a few are enough.
  const effort: Effort = { ...context.effort, rounds: Math.min(context.effort.rounds, 3) };
  const load = await interleave([probe, prompt], effort);
  const limit = probe.result.median / 1e9;
  // The linear layers' multiply-adds alone; norms and attention take their time besides.
  const rate = 2 * linearWeights(model) * tokens / median(prompt.samples_us) / 1000;
  addRow(context, prompt, {
    suite: SUITE,
    name,
    subject: "tritter-accel",
    batch: tokens,
    activations: "int8",
    rate,
    rate_unit: "GOP/s",
    limit,
    limit_unit: "GOP/s",
    share: rate / limit,
  }, load);
}

/** Weights of the linear layers of the transformer. */
function linearWeights({ config }: TernaryModel): number {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, layers } = config;
  const attention = 2 * hiddenSize * heads * headDim + 2 * hiddenSize * kvHeads * headDim;
  return layers * (attention + 3 * hiddenSize * intermediateSize);
}

/** Measures the model; its random weights are made on first use and kept outside the repository. */
export async function measureModel(context: Context): Promise<void> {
  if (!context.wants(SUITE, `one token, a prompt of ${PROMPT_TOKENS} tokens`)) return;
  const directory = randomModel(context.effort.quick ? "tiny" : "bitnet-2b");
  const models: TernaryModel[] = [];
  try {
    for (const { label: _, ...options } of VARIANTS) {
      models.push(await loadModel(directory, { ...options, tokenizer: false }));
    }
    await measureDecoding(context, models);
    await measurePrompt(context, models[0]!);
  } finally {
    for (const model of models) model[Symbol.dispose]();
  }
}
