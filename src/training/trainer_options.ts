// What a trainer can be told, checked and with the defaults filled in.

import { checkCount, checkNumber, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { filePath } from "../formats/mapped_file.ts";
import type { ParameterData, Trainable, TrainableData } from "../nn/trainable.ts";
import { averageGradients } from "../distributed/average_gradients.ts";
import {
  checkCommunicator,
  type Communicator,
  TIMEOUT_SECONDS,
} from "../distributed/communicator.ts";
import { LocalCommunicator } from "../distributed/local.ts";
import { TokenDataset } from "./dataset.ts";
import { checkHooks, type GradientExchange, type TrainerHook } from "./hooks.ts";
import type { LossScalerConfig } from "./loss_scaler.ts";
import type { Optimizer } from "./optimizer.ts";
import { AdamW, type AdamWOptions, Sgd, type SgdOptions } from "./optimizers.ts";
import { type LearningRateOptions, learningRateSchedule } from "./schedule.ts";

/** An optimiser by its name, with its options. */
export type OptimizerSettings =
  | ({ name: "adamw" } & AdamWOptions)
  | ({ name: "sgd" } & SgdOptions);

/** The options of a `Trainer` that are numbers, words and paths: what a YAML file can say. */
export interface TrainerSettings extends Partial<Omit<LearningRateOptions, "steps">> {
  /** How gradients become changes. Default: AdamW with its defaults. */
  optimizer?: OptimizerSettings | undefined;
  /** Steps to make; or say `epochs`. */
  steps?: number | undefined;
  /** How often to go through the data; may be a fraction. */
  epochs?: number | undefined;
  /** Rows in a micro-batch. Default: 8. */
  batchSize?: number | undefined;
  /** Micro-batches in a step; their gradients are averaged. Default: 1. */
  accumulation?: number | undefined;
  /** Largest global norm of the gradients; 0 for no limit. Default: 1. */
  clipNorm?: number | undefined;
  /**
   * Scales the loss before the backward pass and the gradients after it, and leaves out steps whose
   * gradients overflow: for models that compute in half precision. Default: false.
   */
  lossScaling?: boolean | LossScalerConfig | undefined;
  /** Orders the data. Default: 0. */
  seed?: number | undefined;
  /** Evaluates after every so many steps and at the end; 0: at the end only. Default: 0. */
  evaluateEvery?: number | undefined;
  /** Rows that are evaluated at a time. Default: `batchSize`. */
  evaluationBatchSize?: number | undefined;
  /** Where checkpoints are kept. Default: nowhere. */
  checkpointDirectory?: string | undefined;
  /** Writes a checkpoint after every so many steps and at the end; 0: at the end only. Default: 0. */
  checkpointEvery?: number | undefined;
  /** How many checkpoints stay, the newest. Default: 3. */
  keepCheckpoints?: number | undefined;
  /** Goes on from the newest checkpoint, if there is one. Default: false, which wants none there. */
  resume?: boolean | undefined;
  /** A file that gets a line of JSON for every step; without `resume` it must be new. Default: none. */
  metricsFile?: string | undefined;
  /** An SVG image of the losses, drawn with every evaluation. Default: none. */
  curveFile?: string | undefined;
  /** Shows progress on standard error. Default: if that is a terminal. */
  progress?: boolean | undefined;
}

/** The names of all settings, for those who read them from elsewhere. */
export const SETTINGS: Readonly<Record<keyof TrainerSettings, true>> = {
  optimizer: true,
  learningRate: true,
  schedule: true,
  warmupSteps: true,
  minLearningRate: true,
  decaySteps: true,
  steps: true,
  epochs: true,
  batchSize: true,
  accumulation: true,
  clipNorm: true,
  lossScaling: true,
  seed: true,
  evaluateEvery: true,
  evaluationBatchSize: true,
  checkpointDirectory: true,
  checkpointEvery: true,
  keepCheckpoints: true,
  resume: true,
  metricsFile: true,
  curveFile: true,
  progress: true,
};

/** The options whose types depend on where the model is. */
type ModelParts = "model" | "optimizer" | "hooks" | "exchange";

/** What a `Trainer` is made of. */
export interface TrainerOptions<Data extends TrainableData = ParameterData>
  extends Omit<TrainerSettings, "optimizer" | "learningRate"> {
  /** What is trained: on the CPU, or on the device where its parameters are. */
  model: Trainable<Data>;
  /** What it learns from. */
  data: TokenDataset;
  /** What it is evaluated on. Default: nothing. */
  validation?: TokenDataset | undefined;
  /**
   * How gradients become changes: settings, or an optimiser that belongs to this trainer alone.
   * Default: AdamW with its defaults.
   */
  optimizer?: Optimizer<NoInfer<Data>> | OptimizerSettings | undefined;
  /**
   * The highest learning rate, which `schedule` and its options change with the steps as in
   * `learningRateSchedule`; or a function that gives the rate of each step, the first being step 0.
   */
  learningRate: number | ((step: number) => number);
  /** Code that takes part in every step. */
  hooks?: readonly TrainerHook<NoInfer<Data>>[] | undefined;
  /**
   * The other processes that train the same model, each with micro-batches of its own, so that a step
   * learns from `size` times as many rows. All make their trainers with the same options; rank 0 gives
   * the others its parameters, and it alone writes files, which all must be able to read, and shows
   * progress. Default: none.
   */
  communicator?: Communicator | undefined;
  /** What the ranks exchange, and when. Default: `averageGradients(communicator)`. */
  exchange?: GradientExchange<NoInfer<Data>> | undefined;
  /** When aborted, training ends after the step with a checkpoint. */
  signal?: AbortSignal | undefined;
}

/** {@linkcode TrainerOptions}, checked. */
export interface TrainerPlan<Data extends TrainableData> {
  readonly model: Trainable<Data>;
  readonly data: TokenDataset;
  readonly validation: TokenDataset | undefined;
  readonly optimizer: Optimizer<Data>;
  readonly learningRate: (step: number) => number;
  readonly hooks: readonly TrainerHook<Data>[];
  readonly communicator: Communicator;
  /** One of the hooks, the first, if there is a communicator. */
  readonly exchange: GradientExchange<Data> | undefined;
  /** After how many steps all ranks have the same parameters. */
  readonly togetherEvery: number;
  readonly signal: AbortSignal | undefined;
  readonly steps: number;
  readonly batchSize: number;
  readonly accumulation: number;
  readonly clipNorm: number;
  readonly lossScaling: LossScalerConfig | undefined;
  readonly seed: number;
  readonly evaluateEvery: number;
  readonly evaluationBatchSize: number;
  readonly checkpointDirectory: string | undefined;
  readonly checkpointEvery: number;
  readonly keepCheckpoints: number;
  readonly resume: boolean;
  readonly metricsFile: string | undefined;
  readonly curveFile: string | undefined;
  readonly progress: boolean | undefined;
}

/** Checks the options of a trainer. */
export function planTraining<Data extends TrainableData>(
  options: TrainerOptions<Data>,
): TrainerPlan<Data> {
  const given = checkOptions(options, "options");
  const { model, data, validation, signal } = given;
  checkModel(model);
  checkDataset(data, "data");
  if (validation !== undefined) checkDataset(validation, "validation");
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw tritterError("invalid_type", `signal must be an AbortSignal, got ${describe(signal)}`);
  }
  const batchSize = checkCount(given.batchSize ?? 8, "batchSize", { min: 1 });
  const accumulation = checkCount(given.accumulation ?? 1, "accumulation", { min: 1 });
  const { hooks, communicator, exchange, togetherEvery } = checkRanks(given);
  const ranks = communicator.size;
  const steps = checkSteps(given, data.rows / (batchSize * accumulation * ranks));
  const plan: TrainerPlan<Data> = {
    model,
    data,
    validation,
    optimizer: createOptimizer(given.optimizer),
    learningRate: checkLearningRate(given, steps),
    hooks,
    communicator,
    exchange,
    togetherEvery,
    signal,
    steps,
    batchSize,
    accumulation,
    clipNorm: checkNumber(given.clipNorm ?? 1, "clipNorm", { min: 0 }),
    lossScaling: checkLossScaling(given.lossScaling),
    seed: checkCount(given.seed ?? 0, "seed"),
    evaluateEvery: checkCount(given.evaluateEvery ?? 0, "evaluateEvery"),
    evaluationBatchSize: checkCount(
      given.evaluationBatchSize ?? batchSize,
      "evaluationBatchSize",
      { min: 1 },
    ),
    ...checkOutputs(given),
  };
  checkTogether(plan);
  return plan;
}

/** The communicator, and the hooks with what is exchanged before all others. */
function checkRanks<Data extends TrainableData>(
  { communicator, exchange, hooks }: TrainerOptions<Data>,
): Pick<TrainerPlan<Data>, "communicator" | "exchange" | "hooks" | "togetherEvery"> {
  if (communicator === undefined) {
    if (exchange !== undefined) {
      throw tritterError("invalid_option", "communicator must be given for exchange");
    }
    return {
      communicator: new LocalCommunicator(TIMEOUT_SECONDS),
      exchange: undefined,
      hooks: checkHooks(hooks),
      togetherEvery: 1,
    };
  }
  checkCommunicator(communicator, "communicator");
  const used = exchange ?? averageGradients(communicator);
  return {
    communicator,
    exchange: used,
    hooks: checkHooks([used, ...checkHooks(hooks)]),
    togetherEvery: checkCount(used.every ?? 1, "exchange.every", { min: 1 }),
  };
}

/** Evaluations and checkpoints want the one model that all ranks have. */
function checkTogether(
  plan: Pick<
    TrainerPlan<never>,
    "togetherEvery" | "steps" | "evaluateEvery" | "checkpointEvery"
  >,
): void {
  const { togetherEvery: every, steps, evaluateEvery, checkpointEvery } = plan;
  for (const [name, value] of Object.entries({ steps, evaluateEvery, checkpointEvery })) {
    if (value % every === 0) continue;
    throw tritterError(
      "invalid_option",
      `${name} must be a multiple of the exchange's every (${every}), got ${value}`,
    );
  }
}

function checkOutputs(
  given: Omit<TrainerSettings, "optimizer" | "learningRate">,
): Pick<
  TrainerPlan<never>,
  | "checkpointDirectory"
  | "checkpointEvery"
  | "keepCheckpoints"
  | "resume"
  | "metricsFile"
  | "curveFile"
  | "progress"
> {
  const path = (value: string | undefined, name: string) =>
    value === undefined ? undefined : filePath(value, name);
  const checkpointDirectory = path(given.checkpointDirectory, "checkpointDirectory");
  const checkpointEvery = checkCount(given.checkpointEvery ?? 0, "checkpointEvery");
  const resume = checkFlag(given.resume, "resume") ?? false;
  if (checkpointDirectory === undefined && (resume || checkpointEvery > 0)) {
    throw tritterError(
      "invalid_option",
      "checkpointDirectory must be given for checkpointEvery and resume",
    );
  }
  return {
    checkpointDirectory,
    checkpointEvery,
    keepCheckpoints: checkCount(given.keepCheckpoints ?? 3, "keepCheckpoints", { min: 1 }),
    resume,
    metricsFile: path(given.metricsFile, "metricsFile"),
    curveFile: path(given.curveFile, "curveFile"),
    progress: checkFlag(given.progress, "progress"),
  };
}

function checkLossScaling(value: TrainerSettings["lossScaling"]): LossScalerConfig | undefined {
  if (value === undefined || value === false) return undefined;
  return value === true ? {} : checkOptions(value, "lossScaling");
}

function checkFlag(value: unknown, name: string): boolean | undefined {
  if (value === undefined || typeof value === "boolean") return value;
  throw tritterError("invalid_type", `${name} must be true or false, got ${describe(value)}`);
}

function checkModel(model: Trainable<TrainableData>): void {
  const fits = Array.isArray(model?.parameters) && model.parameters.length > 0 &&
    typeof model.lossAndGradients === "function" && typeof model.loss === "function";
  if (!fits) {
    throw tritterError("invalid_type", `model must be a Trainable, got ${describe(model)}`);
  }
  const names = new Set(model.parameters.map(({ name }) => name));
  if (names.size !== model.parameters.length) {
    throw tritterError("invalid_value", "model must have parameters with names of their own");
  }
}

function checkDataset(data: unknown, name: string): void {
  if (data instanceof TokenDataset) return;
  throw tritterError("invalid_type", `${name} must be a TokenDataset, got ${describe(data)}`);
}

function createOptimizer<Data extends TrainableData>(
  given: TrainerOptions<Data>["optimizer"],
): Optimizer<Data> {
  if (given === undefined) return new AdamW();
  if (typeof given === "object" && given !== null) {
    if ("step" in given && typeof given.step === "function") return given;
    const { name, ...options } = given as OptimizerSettings;
    const make = name === "adamw" ? AdamW : name === "sgd" ? Sgd : undefined;
    if (make !== undefined) return new make(options);
  }
  throw tritterError(
    "invalid_type",
    `optimizer must be an Optimizer or have the name "adamw" or "sgd", got ${describe(given)}`,
  );
}

function checkLearningRate(
  given: Omit<TrainerOptions, ModelParts>,
  steps: number,
): (step: number) => number {
  const { learningRate, schedule, warmupSteps, minLearningRate, decaySteps } = given;
  const more = { schedule, warmupSteps, minLearningRate, decaySteps };
  if (typeof learningRate !== "function") {
    return learningRateSchedule({ learningRate, ...more, steps });
  }
  const other = Object.entries(more).find(([, value]) => value !== undefined);
  if (other === undefined) return learningRate;
  throw tritterError(
    "invalid_option",
    `learningRate must be a number for ${other[0]} to change it, got a function`,
  );
}

function checkSteps(
  { steps, epochs }: Omit<TrainerOptions, ModelParts>,
  stepsPerEpoch: number,
): number {
  if ((steps === undefined) === (epochs === undefined)) {
    throw tritterError(
      "invalid_option",
      `Either steps or epochs must be given, got ${steps === undefined ? "neither" : "both"}`,
    );
  }
  if (steps !== undefined) return checkCount(steps, "steps", { min: 1 });
  const times = checkNumber(epochs, "epochs", { min: 0 });
  // The last step goes past the end rather than leaving rows out.
  return checkCount(Math.ceil(times * stepsPerEpoch), "The number of steps", { min: 1 });
}
