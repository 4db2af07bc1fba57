// tritter generate: text after a prompt.

import { readFileSync } from "node:fs";
import process from "node:process";
import { loadModel } from "../inference/load.ts";
import { choiceOf, type Command, numberOf, textsOf, UsageError } from "./command.ts";
import { bytes, percent } from "./text.ts";

/** Standard input, which is the file with the number 0. */
const STANDARD_INPUT = 0;

/** Streams what a model writes after a prompt. */
export const generate: Command = {
  summary: "text after a prompt",
  usage: `<model directory> [prompt, or - for standard input] [options]
  --max-tokens N    most tokens to generate (256)
  --temperature T   0 takes the likeliest token, 1 draws by the model's probabilities (0)
  --top-k K         draws among the K likeliest tokens
  --top-p P         draws among the likeliest tokens that together have this probability
  --seed N          the same seed and prompt give the same text
  --stop TEXT       ends before this text; may be given more than once
  --threads N       threads of the processor
  --head KIND       output layer: stored, bf16 or int8
  --layout KIND     weights: planes or base3
  --json            {text, tokens, seconds, tokensPerSecond, interrupted}`,
  arguments: [1, 2],
  options: {
    "max-tokens": { type: "string" },
    temperature: { type: "string" },
    "top-k": { type: "string" },
    "top-p": { type: "string" },
    seed: { type: "string" },
    stop: { type: "string", multiple: true },
    threads: { type: "string" },
    head: { type: "string" },
    layout: { type: "string" },
  },
  async run([directory, given], values, { write, progress, signal }) {
    const prompt = given === "-" ? readFileSync(STANDARD_INPUT, "utf8") : given ?? "The ";
    if (prompt === "") throw new UsageError("the prompt must not be empty");
    const options = {
      maxTokens: numberOf(values, "max-tokens"),
      temperature: numberOf(values, "temperature"),
      topK: numberOf(values, "top-k"),
      topP: numberOf(values, "top-p"),
      seed: numberOf(values, "seed"),
      stop: textsOf(values, "stop"),
    };
    using model = await loadModel(directory!, {
      threads: numberOf(values, "threads"),
      head: choiceOf(values, "head", ["stored", "bf16", "int8"]),
      layout: choiceOf(values, "layout", ["planes", "base3"]),
      onProgress(loaded, total) {
        // Where lines stay, the last one is enough.
        if (loaded < total && process.stderr.isTTY !== true) return;
        progress(`Loading ${bytes(total)}: ${percent(loaded / total)}`);
      },
    });
    // Wrong options are found here, before anything is written.
    const generated = model.generate(prompt, { ...options, signal });
    const tokens: number[] = [];
    let text = "";
    let first = performance.now();
    const started = first;
    write(prompt);
    try {
      for await (const token of generated) {
        if (tokens.length === 0) first = performance.now();
        tokens.push(token.id);
        text += token.text;
        write(token.text);
      }
    } catch (error) {
      // What was written until then is the result.
      if (!signal.aborted) throw error;
    } finally {
      write("\n");
    }
    const seconds = (performance.now() - started) / 1000;
    const rate = (tokens.length - 1) * 1000 / (performance.now() - first);
    const tokensPerSecond = tokens.length > 1 ? rate : null;
    progress(
      `${tokens.length} tokens in ${seconds.toFixed(2)} s` +
        (tokensPerSecond === null ? "" : `, ${tokensPerSecond.toFixed(1)} a second`),
    );
    return { prompt, text, tokens, seconds, tokensPerSecond, interrupted: signal.aborted };
  },
};
