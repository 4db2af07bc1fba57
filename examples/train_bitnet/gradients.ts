// Keeps gradients of a training for the tests of codecs: a few whole tensors, as bf16.

import { join } from "node:path";
import {
  type SafetensorsTensor,
  type TrainerHook,
  type TrainerStep,
  writeSafetensors,
} from "tritter-accel";

/** One attention and one feed-forward product of a layer in the middle, and its norms. */
const TENSORS = [
  /^model\.layers\.1\.self_attn\..*\.weight$/,
  /^model\.layers\.1\.mlp\.down_proj\.weight$/,
  /^model\.layers\.1\..*norm\.weight$/,
];

/** The table of embeddings is large: once is enough. */
const EMBEDDING = /^model\.embed_tokens\.weight$/;

/** Writes the gradients of these steps, the first being step 1, before they are clipped. */
export function dumpGradients(steps: readonly number[], folder: string): TrainerHook {
  const dump = ({ parameters }: TrainerStep, step: number) => {
    const kinds = step === steps[1] ? [...TENSORS, EMBEDDING] : TENSORS;
    const tensors = new Map<string, SafetensorsTensor>();
    for (const { name, shape, gradient } of parameters) {
      if (!kinds.some((kind) => kind.test(name))) continue;
      tensors.set(name, { shape, data: gradient, dtype: "BF16" });
    }
    writeSafetensors(join(folder, `step-${step}.safetensors`), tensors, {
      metadata: { format: "pt", step: String(step) },
    });
  };
  return {
    name: "dump-gradients",
    afterBackward(step) {
      if (steps.includes(step.step + 1)) dump(step, step.step + 1);
    },
  };
}
