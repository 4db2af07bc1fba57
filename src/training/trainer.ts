// The loop: batches to gradients to steps, with evaluation, checkpoints and a record of all.

import { dirname } from "node:path";
import { tritterError } from "../errors.ts";
import { makeDirectory, writeTextAtomically } from "../formats/atomic_file.ts";
import { Pacer } from "../inference/pacer.ts";
import {
  checkpointPath,
  type CheckpointState,
  listCheckpoints,
  pruneCheckpoints,
  readCheckpoint,
  writeCheckpoint,
} from "./checkpoint.ts";
import type { ParameterData, TrainableData } from "../nn/trainable.ts";
import { beginTogether, meanArrays } from "./together.ts";
import { TrainingHistory } from "./history.ts";
import { LossScaler } from "./loss_scaler.ts";
import { drawLossCurve, type LossPoint } from "./loss_curve.ts";
import { checkNoMetrics, MetricsFile } from "./metrics.ts";
import { Progress } from "./progress.ts";
import { planTraining, type TrainerOptions, type TrainerPlan } from "./trainer_options.ts";
import { checkRunState, runKey, type RunState } from "./trainer_state.ts";
import { makeStep } from "./training_step.ts";

/** How a training run ended. */
export interface TrainingResult {
  /** Steps that are done, with those before a resume. */
  readonly steps: number;
  /** Mean loss of the last step's batch, in nats per token. */
  readonly loss: number;
  /** Mean loss on the validation data, in nats per token; null without such data. */
  readonly validationLoss: number | null;
  /** Tokens learnt from, with those before a resume. */
  readonly tokens: number;
  /** Seconds of training and evaluation, with those before a resume. */
  readonly seconds: number;
  /** True if the signal ended it before the last step. */
  readonly aborted: boolean;
}

/**
 * Trains a model: batches, gradients, clipping, steps, evaluation, checkpoints, a record of it all.
 *
 * A checkpoint holds everything that the next step depends on, in one file that is there as a whole or
 * not at all. A run that was killed at any moment and is resumed has the same parameters and losses, bit
 * for bit, as one that was not; of its metrics only the times differ.
 *
 * @example
 * ```ts
 * import { type Optimizer, TokenDataset, type Trainable, Trainer } from "tritter-accel";
 *
 * // The smallest of models: how often each of four tokens comes, whatever was before it.
 * const data = new Float32Array(4);
 * const gradient = new Float32Array(4);
 * const loss = (targets: Int32Array, scale: number): number => {
 *   const total = data.reduce((sum, logit) => sum + Math.exp(logit), 0);
 *   let sum = 0;
 *   for (const target of targets) {
 *     sum += Math.log(total) - data[target]!;
 *     for (let id = 0; id < 4; id++) {
 *       const wanted = id === target ? 1 : 0;
 *       gradient[id]! += scale * (Math.exp(data[id]!) / total - wanted) / targets.length;
 *     }
 *   }
 *   return sum / targets.length;
 * };
 * const model: Trainable = {
 *   parameters: [{ name: "logits", shape: [4], data, gradient, decay: false, quantized: false }],
 *   lossAndGradients: (_ids, targets, _shape, options) => loss(targets, options?.scale ?? 1),
 *   loss: (_ids, targets) => loss(targets, 0),
 * };
 * const descent: Optimizer = {
 *   steps: 0,
 *   step(parameters, rate) {
 *     for (const { data, gradient } of parameters) gradient.forEach((g, i) => data[i]! -= rate * g);
 *   },
 *   state: () => ({}),
 *   loadState: () => {},
 * };
 * const tokens = Int32Array.from({ length: 500 }, (_, index) => index % 3);
 * const trainer = new Trainer({
 *   model,
 *   data: TokenDataset.fromTokens(tokens, 8),
 *   optimizer: descent,
 *   learningRate: 0.5,
 *   steps: 50,
 * });
 * const result = await trainer.train();
 * console.log(result.loss < Math.log(4)); // true
 * ```
 */
export class Trainer<Data extends TrainableData = ParameterData> {
  readonly #plan: TrainerPlan<Data>;
  #history = new TrainingHistory();
  #step = 0;
  #position = 0;
  #scaler: LossScaler | undefined;
  #tokens = 0;
  /** Seconds of earlier calls and runs, and when the present one began. */
  #seconds = 0;
  #started: number | undefined;
  /** A step that threw has left half of its work behind. */
  #failed = false;

  /**
   * Checks the options and, with `resume`, takes over the newest checkpoint.
   *
   * Throws `invalid_option` where there are checkpoints or metrics of an earlier run and `resume` is not
   * set, or where the checkpoint belongs to another run, and `invalid_format` for a damaged one.
   */
  constructor(options: TrainerOptions<Data>) {
    this.#plan = planTraining(options);
    const { lossScaling, communicator } = this.#plan;
    this.#scaler = lossScaling && new LossScaler(lossScaling);
    this.#readNewest();
    beginTogether(communicator, this.#plan.model.parameters, this.#step);
  }

  /** Takes over the newest checkpoint, where there is one and it is wanted. */
  #readNewest(): void {
    const { checkpointDirectory: directory, resume, metricsFile } = this.#plan;
    if (metricsFile !== undefined && !resume) checkNoMetrics(metricsFile);
    if (directory === undefined) return;
    const newest = listCheckpoints(directory).at(-1);
    if (newest === undefined) return;
    if (!resume) {
      throw tritterError(
        "invalid_option",
        `checkpointDirectory must hold no checkpoints, or resume be true, got ${newest.path}`,
      );
    }
    readCheckpoint(
      newest.path,
      this.#plan.model.parameters,
      (state) => this.#restore(state, newest.path),
    );
  }

  /** Steps that are done. */
  get step(): number {
    return this.#step;
  }

  /** Steps to make in all. */
  get steps(): number {
    return this.#plan.steps;
  }

  /** The loss of every step so far, from step 1. */
  get losses(): LossPoint[] {
    return this.#history.losses;
  }

  /** Validation losses so far, by the number of steps before them. */
  get validationLosses(): LossPoint[] {
    return this.#history.validation;
  }

  /**
   * Makes the steps that are left.
   *
   * Throws `invalid_value` where the loss or the gradients are no longer finite; checkpoints stay.
   */
  async train(): Promise<TrainingResult> {
    if (this.#started !== undefined) {
      throw tritterError("invalid_value", "A trainer must not be started while it is training");
    }
    if (this.#failed) {
      throw tritterError(
        "invalid_value",
        "A trainer must not go on after a step that failed; resume from a checkpoint",
      );
    }
    this.#started = performance.now();
    try {
      return await this.#run();
    } catch (error) {
      this.#plan.communicator.abandon();
      throw error;
    } finally {
      this.#seconds = this.#elapsed();
      this.#started = undefined;
    }
  }

  /**
   * Returns the mean loss on the validation data, in nats per token that has a target.
   *
   * Throws `invalid_option` without such data.
   */
  async evaluate(): Promise<number> {
    const { model, validation, evaluationBatchSize: size } = this.#plan;
    if (validation === undefined) {
      throw tritterError("invalid_option", "validation must be given for evaluate");
    }
    const pacer = new Pacer();
    const { communicator } = this.#plan;
    let sum = 0;
    let count = 0;
    // Every rank takes a part of the batches.
    const first = communicator.rank * size;
    for (let start = first; start < validation.rows; start += communicator.size * size) {
      const batch = validation.inOrder(start, Math.min(size, validation.rows - start));
      const counted = batch.targets.reduce((all, target) => all + Number(target >= 0), 0);
      sum += counted * model.loss(batch.ids, batch.targets, batch.shape);
      count += counted;
      await pacer.breathe();
    }
    const totals = Float64Array.of(sum, count);
    communicator.allReduce(totals);
    return totals[0]! / totals[1]!;
  }

  /** Writes a checkpoint of the present state; returns its path. All ranks call it, rank 0 writes. */
  saveCheckpoint(): string {
    const { checkpointDirectory: directory, model, communicator, togetherEvery } = this.#plan;
    if (directory === undefined) {
      throw tritterError("invalid_option", "checkpointDirectory must be given for saveCheckpoint");
    }
    if (this.#step % togetherEvery !== 0) {
      throw tritterError(
        "invalid_value",
        `A checkpoint must be written where all ranks have the same parameters, after a multiple of ${togetherEvery} steps, got ${this.#step}`,
      );
    }
    const path = checkpointPath(directory, this.#step);
    const state = this.#state();
    if (communicator.rank === 0) {
      makeDirectory(directory);
      writeCheckpoint(path, model.parameters, state);
    }
    // Nobody goes on before it is there: then it is the one to resume from, whatever happens.
    communicator.barrier();
    this.#prune();
    return path;
  }

  #prune(): void {
    const { checkpointDirectory: directory, keepCheckpoints, communicator } = this.#plan;
    if (directory !== undefined && communicator.rank === 0) {
      pruneCheckpoints(directory, keepCheckpoints);
    }
  }

  async #run(): Promise<TrainingResult> {
    const { metricsFile, progress: wanted, steps, communicator } = this.#plan;
    const isFirst = communicator.rank === 0;
    this.#prune();
    using metrics = metricsFile === undefined || !isFirst
      ? null
      : new MetricsFile(metricsFile, this.#step);
    using progress = new Progress(isFirst ? wanted : false, this.#step, this.#tokens);
    const pacer = new Pacer();
    let aborted = this.#isAborted();
    while (this.#step < steps && !aborted) {
      const line = this.#advance();
      if (this.#isDue(this.#plan.evaluateEvery)) await this.#evaluateInto(line);
      metrics?.append(line);
      if (this.#isDue(this.#plan.checkpointEvery)) this.#saveIfWanted(metrics);
      const { loss, validationLoss } = this.#history;
      progress.update({ step: this.#step, steps, loss, validationLoss }, this.#tokens);
      await pacer.breathe();
      aborted = this.#isAborted();
    }
    if (aborted && this.#step < steps) this.#saveIfWanted(metrics);
    return this.#result();
  }

  /** Whether the signal of any rank wants an end, and all ranks are together. */
  #isAborted(): boolean {
    const { signal, communicator, togetherEvery } = this.#plan;
    if (signal === undefined || this.#step % togetherEvery !== 0) return false;
    const wanted = Int32Array.of(Number(signal.aborted));
    communicator.allReduce(wanted, { operation: "max" });
    return wanted[0] === 1;
  }

  /** Makes a step; returns its line of metrics. */
  #advance(): Record<string, number> & { step: number } {
    const { batchSize, accumulation, data, communicator } = this.#plan;
    const start = performance.now();
    this.#failed = true;
    const { loss, learningRate, metrics, skipped } = makeStep(this.#plan, {
      number: this.#step,
      position: this.#position,
      scaler: this.#scaler,
    });
    this.#failed = false;
    const rows = batchSize * accumulation * communicator.size;
    this.#step += 1;
    this.#position += rows;
    this.#tokens += rows * data.length;
    this.#history.addLoss(loss);
    return {
      step: this.#step,
      loss,
      learningRate,
      ...metrics,
      ...(skipped ? { skipped: 1 } : {}),
      tokens: this.#tokens,
      tokensPerSecond: rows * data.length * 1000 / (performance.now() - start),
      seconds: this.#elapsed(),
    };
  }

  /** True after every so many steps, and after the last. */
  #isDue(every: number): boolean {
    return this.#step === this.#plan.steps || (every > 0 && this.#step % every === 0);
  }

  async #evaluateInto(line: Record<string, number>): Promise<void> {
    const { validation, curveFile } = this.#plan;
    if (validation !== undefined) {
      line.validationLoss = await this.evaluate();
      this.#history.addValidation(this.#step, line.validationLoss);
    }
    if (curveFile === undefined || this.#plan.communicator.rank > 0) return;
    const { losses: train, validation: points } = this.#history;
    makeDirectory(dirname(curveFile));
    writeTextAtomically(curveFile, drawLossCurve({ train, validation: points }));
  }

  #saveIfWanted(metrics: MetricsFile | null): void {
    if (this.#plan.checkpointDirectory === undefined) return;
    // The lines must outlast the checkpoint that says how many there are.
    metrics?.flush();
    this.saveCheckpoint();
  }

  #state(): CheckpointState {
    const { optimizer, hooks, communicator, togetherEvery } = this.#plan;
    const states = hooks.map((hook) => [hook.name, hook.state?.() ?? {}] as const);
    const run: RunState = {
      ...runKey(this.#plan),
      step: this.#step,
      position: this.#position,
      tokens: this.#tokens,
      seconds: this.#elapsed(),
      optimizerSteps: optimizer.steps,
      lossScaler: this.#scaler?.toJSON() ?? null,
      hooks: Object.fromEntries(states.map(([name, { json }]) => [name, json ?? null])),
    };
    return {
      json: { ...run },
      optimizer: togetherEvery === 1 ? optimizer.state() : meanArrays(communicator, optimizer),
      history: this.#history.state(),
      hooks: Object.fromEntries(states.map(([name, { arrays }]) => [name, arrays ?? {}])),
    };
  }

  #restore(state: CheckpointState, path: string): void {
    const { optimizer, hooks } = this.#plan;
    const run = checkRunState(state.json, this.#plan, path);
    const history = TrainingHistory.fromState(state.history, run.step);
    optimizer.loadState(floatArrays(state.optimizer, path));
    if (optimizer.steps !== run.optimizerSteps) {
      throw tritterError(
        "invalid_format",
        `${path}: The optimiser must have made ${run.optimizerSteps} steps, got ${optimizer.steps}`,
      );
    }
    const scaler = run.lossScaler === null ? undefined : LossScaler.fromJSON(run.lossScaler);
    for (const hook of hooks) {
      hook.loadState?.({ arrays: state.hooks[hook.name] ?? {}, json: run.hooks[hook.name] });
    }
    this.#scaler = scaler;
    this.#history = history;
    this.#step = run.step;
    this.#position = run.position;
    this.#tokens = run.tokens;
    this.#seconds = run.seconds;
  }

  #elapsed(): number {
    const now = this.#started === undefined ? 0 : performance.now() - this.#started;
    return this.#seconds + now / 1000;
  }

  #result(): TrainingResult {
    return {
      steps: this.#step,
      loss: this.#history.loss,
      validationLoss: this.#history.validationLoss,
      tokens: this.#tokens,
      seconds: this.#elapsed(),
      aborted: this.#step < this.#plan.steps,
    };
  }
}

/** An optimiser's memory is float32 throughout. */
function floatArrays(
  arrays: CheckpointState["optimizer"],
  path: string,
): Record<string, Float32Array> {
  for (const [name, array] of Object.entries(arrays)) {
    if (array instanceof Float32Array) continue;
    throw tritterError("invalid_format", `${path}: Tensor optimizer.${name} must be F32`);
  }
  return arrays as Record<string, Float32Array>;
}
