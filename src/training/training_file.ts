// Training from a YAML file: model, data and trainer in one place.

import { dirname, isAbsolute, join } from "node:path";
import { checkNumber, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import type { Device } from "../device.ts";
import { filePath } from "../formats/mapped_file.ts";
import { Tokenizer } from "../inference/tokenizer.ts";
import type { TrainableData } from "../nn/trainable.ts";
import type { Tensor } from "../tensor.ts";
import { TokenDataset } from "./dataset.ts";
import { type DocumentOptions, readDocuments, splitDocuments } from "./documents.ts";
import { Trainer } from "./trainer.ts";
import { SETTINGS, type TrainerOptions, type TrainerSettings } from "./trainer_options.ts";
import {
  type CudaTransformer,
  TrainableTransformer,
  type TrainableTransformerOptions,
} from "./transformer.ts";
import type { TransformerConfig } from "./transformer_config.ts";
import { readYaml } from "./yaml.ts";

/** Texts to learn from, as a training file names them. */
export interface DataSettings extends DocumentOptions {
  /** UTF-8 text files. */
  files: readonly string[];
  /** A model directory with the tokenizer. */
  tokenizer: string;
  /** Tokens in a row. */
  length: number;
  /** Put before every document; default: the tokenizer's; null for none. */
  bosTokenId?: number | null | undefined;
  /** Put after every document; default: none. */
  eosTokenId?: number | null | undefined;
  /** Share of the documents that is held out. Default: 0. */
  validation?: number | undefined;
  /** Decides which documents are held out. Default: 0. */
  seed?: number | undefined;
}

/** What a training file holds; its names may be written in snake_case. */
export interface TrainingFile {
  /** The sizes of a `TrainableTransformer`, and its options. */
  model: TransformerConfig & TrainableTransformerOptions;
  /** Texts; may be left out where the caller has data. */
  data?: DataSettings | undefined;
  /** Everything that a `Trainer` can be told. */
  trainer: TrainerSettings;
}

/** What the caller of `loadTraining` says in place of the file. */
export type TrainingOverrides = Partial<Omit<TrainerOptions, "model">>;

/** Training that is ready to begin. */
export interface Training {
  /** Trains the model. */
  readonly trainer: Trainer;
  /** The model, with random weights or with those of the checkpoint that is resumed. */
  readonly model: TrainableTransformer;
  /** The tokenizer; null where the file names no data. */
  readonly tokenizer: Tokenizer | null;
}

/** Settings of a trainer that name files. */
const PATHS = ["checkpointDirectory", "metricsFile", "curveFile"] as const;

/** Training on a device that the caller named, ready to begin. */
export interface DeviceTraining extends Omit<Training, "trainer" | "model"> {
  /** Trains the model. */
  readonly trainer: Trainer | Trainer<Tensor<"f32">>;
  /** The model where it trains; on CUDA it owns device memory. */
  readonly model: TrainableTransformer | CudaTransformer;
}

/**
 * Reads a training file and returns a trainer and its model, ready to train.
 *
 * Paths in the file count from its own folder. Options that are given as well win over those of the file;
 * `data` and `validation` replace its texts. The file is read by the npm package `yaml`, which is
 * loaded only here. With a `device` the model trains there. Throws `invalid_format` for what is not such a file, naming settings that nobody
 * knows, and the errors of those that get the settings.
 *
 * @example
 * ```ts
 * import { mkdtempSync, writeFileSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join, resolve } from "node:path";
 * import { loadTraining } from "tritter-accel";
 *
 * const folder = mkdtempSync(join(tmpdir(), "tritter-"));
 * const yaml = `
 * model: { vocab_size: 2048, hidden_size: 32, intermediate_size: 64, layers: 1, heads: 4 }
 * data:
 *   files: [${resolve("README.md")}]
 *   tokenizer: ${resolve("examples/models/bitnet-jargon")}
 *   split: paragraph
 *   length: 32
 * trainer:
 *   steps: 5
 *   batch_size: 2
 *   learning_rate: 0.003
 *   schedule: cosine
 *   optimizer: { name: adamw, weight_decay: 0.1 }
 * `;
 * writeFileSync(join(folder, "run.yaml"), yaml);
 * const { trainer } = await loadTraining(join(folder, "run.yaml"));
 * console.log((await trainer.train()).steps); // 5
 * ```
 */
export function loadTraining(
  path: string | URL,
  options?: TrainingOverrides & { device?: undefined },
): Promise<Training>;
/** Reads a training file and returns a trainer of its model on a device. */
export function loadTraining(
  path: string | URL,
  options: TrainingOverrides & { device: Device },
): Promise<DeviceTraining>;
export async function loadTraining(
  path: string | URL,
  options?: TrainingOverrides & { device?: Device | undefined },
): Promise<DeviceTraining> {
  const file = filePath(path, "path");
  const { device, ...overrides } = checkOptions(options, "options");
  const given = await readYaml(file);
  const at = (name: string) => isAbsolute(name) ? name : join(dirname(file), name);
  for (const name of Object.keys(given)) {
    if (["model", "data", "trainer"].includes(name)) continue;
    throw tritterError("invalid_format", `${file} must have model, data and trainer, got ${name}`);
  }
  const section = (name: string) => {
    const value = given[name];
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
    throw tritterError(
      "invalid_format",
      `${file}: ${name} must hold named settings, got ${describe(value)}`,
    );
  };
  const settings = checkSettings(section("trainer"), file);
  for (const name of PATHS) {
    if (typeof settings[name] === "string") settings[name] = at(settings[name]);
  }
  const texts = given.data === undefined && overrides.data !== undefined
    ? null
    : await loadTexts(section("data") as DataSettings, overrides, at);
  const config = section("model") as TrainingFile["model"];
  const start = new TrainableTransformer(config, config);
  const model = device === undefined ? start : start.to(device);
  const trainer = new Trainer<TrainableData>({
    ...settings,
    ...texts?.datasets,
    ...overrides,
    model,
  } as TrainerOptions<TrainableData>) as DeviceTraining["trainer"];
  return { trainer, model, tokenizer: texts?.tokenizer ?? null };
}

function checkSettings(settings: object, file: string): TrainerSettings {
  for (const name of Object.keys(settings)) {
    if (Object.hasOwn(SETTINGS, name)) continue;
    throw tritterError(
      "invalid_format",
      `${file}: trainer must have settings of ${Object.keys(SETTINGS).join(", ")}, got ${name}`,
    );
  }
  return { ...settings };
}

/** The tokenizer, and the texts as rows of tokens unless the caller has data. */
async function loadTexts(
  given: DataSettings,
  overrides: TrainingOverrides,
  at: (name: string) => string,
): Promise<{ tokenizer: Tokenizer; datasets: Partial<TrainerOptions> }> {
  const { files, tokenizer: directory, split, minLength, validation = 0, seed, ...cut } = given;
  if (typeof directory !== "string") {
    throw tritterError("invalid_type", `data.tokenizer must be a path, got ${describe(directory)}`);
  }
  const tokenizer = await Tokenizer.load(at(directory));
  if (overrides.data !== undefined) return { tokenizer, datasets: {} };
  const share = checkNumber(validation, "data.validation", { min: 0, max: 1 });
  if (!Array.isArray(files) || files.some((name) => typeof name !== "string")) {
    throw tritterError(
      "invalid_type",
      `data.files must be a list of paths, got ${describe(files)}`,
    );
  }
  const documents = readDocuments(files.map(at), { split, minLength });
  const parts = splitDocuments(documents, { share, seed });
  const rows = (texts: readonly string[], shift: boolean) =>
    TokenDataset.fromTexts(texts, tokenizer, { ...cut, shift });
  const datasets: Partial<TrainerOptions> = { data: rows(parts.train, true) };
  if (share > 0) datasets.validation = rows(parts.validation, false);
  return { tokenizer, datasets };
}
