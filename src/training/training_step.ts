// One step of training: hooks, batches, gradients, clipping, update.

import { tritterError } from "../errors.ts";
import type { Parameter } from "../nn/trainable.ts";
import { clipGradients } from "./clipping.ts";
import type { TrainerHook, TrainerStep } from "./hooks.ts";
import type { TrainerPlan } from "./trainer_options.ts";

/** A step as it is filled in. */
type OpenStep = { -readonly [K in keyof TrainerStep]: TrainerStep[K] };

/** Makes the step with this number, on the rows that come after `position` others. */
export function makeStep(plan: TrainerPlan, number: number, position: number): TrainerStep {
  const { model: { parameters }, hooks, optimizer } = plan;
  const step: OpenStep = {
    step: number,
    parameters,
    learningRate: plan.learningRate(number),
    loss: NaN,
    predicted: false,
    metrics: {},
  };
  checkFinite(step.learningRate, "The learning rate", number);
  clearGradients(parameters);
  // Every hook is asked, also after one has said no.
  const declined = hooks.filter((hook) => hook.beforeStep?.(step) === false);
  fillGradients(plan, step, position, declined[0]);
  for (const hook of hooks) hook.afterBackward?.(step);
  const norm = clipGradients(parameters, plan.clipNorm);
  checkFinite(norm, "The norm of the gradients", number);
  step.metrics.gradientNorm = norm;
  for (const hook of hooks) hook.beforeUpdate?.(step);
  optimizer.step(parameters, step.learningRate);
  for (const hook of hooks) hook.afterStep?.(step);
  return step;
}

/** The mean loss and the mean gradients over the micro-batches, or those that a hook predicts. */
function fillGradients(
  plan: TrainerPlan,
  step: OpenStep,
  position: number,
  predictor: TrainerHook | undefined,
): void {
  const { model, data, batchSize, accumulation, seed } = plan;
  let total = 0;
  for (let micro = 0; micro < accumulation; micro += 1) {
    const { ids, targets, shape } = data.batch(position + micro * batchSize, batchSize, seed);
    total += predictor === undefined
      ? model.lossAndGradients(ids, targets, shape, { scale: 1 / accumulation })
      : model.loss(ids, targets, shape);
  }
  step.loss = total / accumulation;
  checkFinite(step.loss, "The loss", step.step);
  if (predictor === undefined) return;
  if (predictor.predictGradients === undefined) {
    throw tritterError(
      "invalid_value",
      `The hook ${predictor.name} must have predictGradients, as it wants no backward pass`,
    );
  }
  step.predicted = true;
  predictor.predictGradients(step);
}

function clearGradients(parameters: readonly Parameter[]): void {
  for (const { gradient } of parameters) gradient.fill(0);
}

function checkFinite(value: number, what: string, step: number): void {
  if (Number.isFinite(value)) return;
  throw tritterError("invalid_value", `${what} must be finite, got ${value} in step ${step + 1}`);
}
