// One step of training: hooks, batches, gradients, clipping, update.

import type { Communicator } from "../distributed/communicator.ts";
import { tritterError } from "../errors.ts";
import type { TrainableData } from "../nn/trainable.ts";
import { clipByGlobalNorm, globalNorm } from "./clip.ts";
import { clearGradients, type Gradients, type TensorGradients } from "./gradients.ts";
import type { TrainerHook, TrainerStep } from "./hooks.ts";
import type { LossScaler } from "./loss_scaler.ts";
import type { TrainerPlan } from "./trainer_options.ts";

/** A step as it is filled in. */
type OpenStep<Data extends TrainableData> = {
  -readonly [K in keyof TrainerStep<Data>]: TrainerStep<Data>[K];
};

/** Which step is to be made, and with what. */
export interface StepRequest {
  /** Number of the step, from 0. */
  readonly number: number;
  /** How many rows of the data were drawn before. */
  readonly position: number;
  /** Scales the loss, if it is scaled. */
  readonly scaler: LossScaler | undefined;
}

/** Makes a step. */
export function makeStep<Data extends TrainableData>(
  plan: TrainerPlan<Data>,
  request: StepRequest,
): TrainerStep<Data> {
  const { model: { parameters }, hooks, optimizer, clipNorm } = plan;
  const step: OpenStep<Data> = {
    step: request.number,
    parameters,
    learningRate: plan.learningRate(request.number),
    loss: NaN,
    predicted: false,
    skipped: false,
    metrics: {},
  };
  checkFinite(step.learningRate, "The learning rate", step);
  clearGradients(parameters);
  // All are arrays, or all are tensors.
  const gradients = parameters.map(({ gradient }) => gradient) as Gradients | TensorGradients;
  fillGradients(plan, request, step, gradients);
  if (!step.skipped) {
    for (const hook of hooks) hook.afterBackward?.(step);
    const norm = clipNorm > 0 ? clipByGlobalNorm(gradients, clipNorm) : globalNorm(gradients);
    checkFinite(norm, "The norm of the gradients", step);
    step.metrics.gradientNorm = norm;
    for (const hook of hooks) hook.beforeUpdate?.(step);
    optimizer.step(parameters, step.learningRate);
  }
  for (const hook of hooks) hook.afterStep?.(step);
  return step;
}

/** The mean loss and the mean gradients over the micro-batches, or those that a hook predicts. */
function fillGradients<Data extends TrainableData>(
  plan: TrainerPlan<Data>,
  { position, scaler }: StepRequest,
  step: OpenStep<Data>,
  gradients: Gradients | TensorGradients,
): void {
  const { model, data, batchSize, accumulation, seed, hooks, communicator } = plan;
  const { rank, size } = communicator;
  // Every hook is asked, also after one has said no.
  const predictor = hooks.filter((hook) => hook.beforeStep?.(step) === false)[0];
  const scale = (scaler?.factor ?? 1) / accumulation;
  let total = 0;
  for (let micro = 0; micro < accumulation; micro += 1) {
    const { ids, targets, shape } = data.batch(
      position + (micro * size + rank) * batchSize,
      batchSize,
      seed,
    );
    total += predictor === undefined
      ? model.lossAndGradients(ids, targets, shape, { scale })
      : model.loss(ids, targets, shape);
  }
  const scales = predictor === undefined && scaler !== undefined;
  if (scales) {
    step.metrics.lossScale = scaler.factor;
    step.skipped = scaler.unscale(gradients);
  }
  step.loss = total / accumulation;
  agree(communicator, step);
  checkFinite(step.loss, "The loss", step);
  if (scales) scaler.update(step.skipped);
  if (predictor !== undefined) {
    step.predicted = true;
    predict(predictor, step);
  }
}

/** The mean loss over all ranks; a step that one of them must leave out is left out by all. */
function agree(
  communicator: Communicator,
  step: Pick<OpenStep<TrainableData>, "loss" | "skipped">,
): void {
  if (communicator.size === 1) return;
  const found = Float64Array.of(step.loss, Number(step.skipped));
  communicator.allReduce(found, { operation: "mean" });
  step.loss = found[0]!;
  step.skipped = found[1]! > 0;
}

function predict<Data extends TrainableData>(
  predictor: TrainerHook<Data>,
  step: TrainerStep<Data>,
): void {
  if (predictor.predictGradients === undefined) {
    throw tritterError(
      "invalid_value",
      `The hook ${predictor.name} must have predictGradients, as it wants no backward pass`,
    );
  }
  predictor.predictGradients(step);
}

function checkFinite(value: number, what: string, { step }: { readonly step: number }): void {
  if (Number.isFinite(value)) return;
  throw tritterError("invalid_value", `${what} must be finite, got ${value} in step ${step + 1}`);
}
