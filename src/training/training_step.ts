// One step of training: hooks, batches, gradients, clipping, update.

import type { Communicator } from "../distributed/communicator.ts";
import { tritterError } from "../errors.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import { clipByGlobalNorm, globalNorm } from "./clip.ts";
import { clearGradients, type Gradients, type TensorGradients } from "./gradients.ts";
import type { GradientExchange, TrainerHook, TrainerStep } from "./hooks.ts";
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
  fillGradients(plan, request, step);
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
): void {
  const { model, data, batchSize, accumulation, seed, hooks, communicator, exchange } = plan;
  const { rank, size } = communicator;
  // Every hook is asked, also after one has said no.
  const predictor = hooks.filter((hook) => hook.beforeStep?.(step) === false)[0];
  const scale = (scaler?.factor ?? 1) / accumulation;
  const final = new FinalGradients(step, scaler, exchange);
  const tells = exchange?.onGradient !== undefined;
  let total = 0;
  for (let micro = 0; micro < accumulation; micro += 1) {
    const { ids, targets, shape } = data.batch(
      position + (micro * size + rank) * batchSize,
      batchSize,
      seed,
    );
    const isLast = micro === accumulation - 1;
    total += predictor === undefined
      ? model.lossAndGradients(ids, targets, shape, {
        scale,
        ...(tells && isLast ? { onGradient: (parameter) => final.add(parameter) } : {}),
      })
      : model.loss(ids, targets, shape);
  }
  const scales = predictor === undefined && scaler !== undefined;
  if (scales) {
    step.metrics.lossScale = scaler.factor;
    step.skipped = final.unscaleRest();
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

/** Gradients that a model has told to be final: they are unscaled, and the exchange is told. */
class FinalGradients<Data extends TrainableData> {
  readonly #step: TrainerStep<Data>;
  readonly #scaler: LossScaler | undefined;
  readonly #exchange: GradientExchange<Data> | undefined;
  readonly #rest: Set<Parameter<Data>>;
  #overflow = false;

  constructor(
    step: TrainerStep<Data>,
    scaler: LossScaler | undefined,
    exchange: GradientExchange<Data> | undefined,
  ) {
    this.#step = step;
    this.#scaler = scaler;
    this.#exchange = exchange;
    this.#rest = new Set(step.parameters);
  }

  add(parameter: Parameter<Data>): void {
    if (!this.#rest.delete(parameter)) {
      throw tritterError(
        "invalid_value",
        `A model must tell of each of its parameters once, got ${parameter?.name} again`,
      );
    }
    this.#unscale([parameter]);
    this.#exchange?.onGradient?.(parameter, this.#step);
  }

  /** Unscales what the model did not tell of; returns whether any gradient has overflowed. */
  unscaleRest(): boolean {
    this.#unscale([...this.#rest]);
    return this.#overflow;
  }

  #unscale(parameters: readonly Parameter<Data>[]): void {
    if (this.#scaler === undefined || parameters.length === 0) return;
    const gradients = parameters.map(({ gradient }) => gradient) as Gradients | TensorGradients;
    const overflow = this.#scaler.unscale(gradients);
    this.#overflow ||= overflow;
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
