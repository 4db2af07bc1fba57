// Predicted gradients within a trainer.

import { checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import type { SafetensorsData } from "../formats/safetensors_writer.ts";
import { checkOnCpu, type HookState, type TrainerHook, type TrainerStep } from "./hooks.ts";
import { PhaseTrainer } from "./phase_trainer.ts";

/** Numbers of the phases in the metrics. */
const PHASES = ["warmup", "full", "predict", "correct"];

const gradientsOf = ({ parameters }: TrainerStep) => parameters.map(({ gradient }) => gradient);

/**
 * Lets a phase trainer decide which steps of a `Trainer` have a backward pass.
 *
 * It is handed the clipped gradients. `sizes` of the phase trainer must be the lengths of the model's
 * parameters, in their order. The metrics get `phase` (0 warm-up, 1 full, 2 predicted, 3 corrected) and,
 * in corrected steps, `predictionError` (relative to the gradients). Checkpoints keep what it needs to
 * go on exactly, its `losses` included.
 *
 * @example
 * ```ts
 * import { DeterministicPhaseTrainer, phaseHook, TrainableTransformer } from "tritter-accel";
 *
 * const sizes = { vocabSize: 50, hiddenSize: 32, intermediateSize: 64, layers: 1, heads: 4 };
 * const model = new TrainableTransformer(sizes);
 * const phases = new DeterministicPhaseTrainer(model.parameters.map(({ data }) => data.length));
 * console.log(phaseHook(phases).name); // phases
 * ```
 */
export function phaseHook(phases: PhaseTrainer): TrainerHook {
  if (!(phases instanceof PhaseTrainer)) {
    throw tritterError("invalid_type", `phases must be a PhaseTrainer, got ${describe(phases)}`);
  }
  return {
    name: "phases",
    beforeStep({ metrics, parameters }) {
      checkOnCpu(parameters, "phaseHook");
      const { phase, needsBackward } = phases.next();
      metrics.phase = PHASES.indexOf(phase);
      return needsBackward;
    },
    predictGradients: (step) => phases.predict({ out: gradientsOf(step) }),
    beforeUpdate(step) {
      if (phases.phase === "predict") return;
      if (phases.phase === "correct") {
        step.metrics.predictionError = phases.correct(gradientsOf(step)).relativeError;
      } else {
        phases.recordFull(gradientsOf(step));
      }
    },
    afterStep({ skipped, loss }) {
      if (skipped) phases.skip();
      else phases.recordLoss(loss);
    },
    state() {
      const { arrays, values } = phases.save();
      return { arrays, json: values };
    },
    loadState(state) {
      phases.restore({ values: checkValues(state), arrays: floatsOf(state.arrays ?? {}) });
    },
  };
}

function checkValues({ json }: HookState): Record<string, unknown> {
  return checkOptions(json as Record<string, unknown> | undefined, "The state of phases");
}

function floatsOf(arrays: Readonly<Record<string, SafetensorsData>>): Record<string, Float32Array> {
  for (const [name, array] of Object.entries(arrays)) {
    if (array instanceof Float32Array) continue;
    throw tritterError("invalid_format", `Tensor hook.phases.${name} must be F32`);
  }
  return arrays as Record<string, Float32Array>;
}
