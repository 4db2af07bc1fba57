// tritter train: a run that a YAML file describes.

import type { Device } from "../device.ts";
import { checkReplaceable, writeDirectoryAtomically } from "../formats/atomic_file.ts";
import { exportModel } from "../inference/export.ts";
import { Tokenizer } from "../inference/tokenizer.ts";
import { loadTraining, type TrainingOverrides } from "../training/training_file.ts";
import { type Command, numberOf, textOf } from "./command.ts";

/** Trains a model. */
export const train: Command = {
  summary: "trains a BitNet model as a YAML file says",
  usage: `<run.yaml> [options]
  --resume          goes on from the newest checkpoint, if there is one
  --device NAME     trains on "cpu", "cuda" or "cuda:N" (default: cpu)
  --steps N         makes this many steps instead of those of the file
  --export DIR      writes the trained model as a packed Hugging Face directory, which must not be there
  --tokenizer DIR   whose tokenizer goes into that directory (default: none)
  --json            {steps, loss, validationLoss, tokens, seconds, aborted, exported}

Ctrl-C ends the run after the step with a checkpoint, where the file names a directory for them.`,
  arguments: [1, 1],
  options: {
    resume: { type: "boolean", default: false },
    device: { type: "string" },
    steps: { type: "string" },
    export: { type: "string" },
    tokenizer: { type: "string" },
  },
  async run([file], values, { write, signal }) {
    const overrides: TrainingOverrides = { signal, progress: true };
    if (values.resume === true) overrides.resume = true;
    const steps = numberOf(values, "steps");
    if (steps !== undefined) overrides.steps = steps;
    const target = textOf(values, "export");
    const tokenizer = textOf(values, "tokenizer");
    // What would fail at the end must not cost the whole run.
    if (target !== undefined) checkReplaceable(target);
    if (tokenizer !== undefined) await Tokenizer.load(tokenizer);
    const device = (textOf(values, "device") ?? "cpu") as Device;
    const { trainer, model } = await loadTraining(file!, { ...overrides, device });
    const result = await trainer.train();
    if (target !== undefined && !result.aborted) {
      await writeDirectoryAtomically(target, (folder) => exportModel(model, folder, { tokenizer }));
    }
    const validation = result.validationLoss?.toFixed(4);
    write(
      `${result.steps} steps, ${result.tokens} tokens in ${result.seconds.toFixed(1)} s: ` +
        `loss ${result.loss.toFixed(4)}${validation ? `, validation ${validation}` : ""}\n`,
    );
    return { ...result, exported: result.aborted ? null : target ?? null };
  },
};
