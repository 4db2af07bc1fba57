// Checkpoints of a training run: one safetensors file each, so that a rename makes it whole.
//
//   parameter.<name>          the values of a parameter
//   optimizer.<name>          an array of the optimiser's memory
//   hook.<hook>.<name>        an array of a hook's state
//   history.<name>            losses so far
//   metadata "tritter.training": JSON with everything that is not an array

import * as fs from "node:fs";
import { tritterError } from "../errors.ts";
import { ioError, UNFINISHED } from "../formats/atomic_file.ts";
import { joinPath } from "../formats/mapped_file.ts";
import { Safetensors } from "../formats/safetensors.ts";
import {
  type SafetensorsData,
  type SafetensorsTensor,
  writeSafetensors,
} from "../formats/safetensors_writer.ts";
import { setValues } from "../nn/buffer.ts";
import type { Parameter, TrainableData } from "../nn/trainable.ts";
import { Tensor } from "../tensor.ts";

const METADATA = "tritter.training";
const FORMAT = 1;
const NAME = /^checkpoint-(\d+)\.safetensors$/;

type Arrays = Readonly<Record<string, SafetensorsData>>;

/** What a checkpoint holds beside parameters. */
export interface CheckpointState {
  /** Anything that JSON can hold. */
  readonly json: Readonly<Record<string, unknown>>;
  /** The optimiser's memory. */
  readonly optimizer: Arrays;
  /** Losses so far. */
  readonly history: Arrays;
  /** Arrays of the hooks, by the name of the hook. */
  readonly hooks: Readonly<Record<string, Arrays>>;
}

/** Checkpoints of a directory by their steps, oldest first; unfinished files are not among them. */
export function listCheckpoints(directory: string): { step: number; path: string }[] {
  return namesIn(directory).flatMap((name) => {
    const step = NAME.exec(name)?.[1];
    return step === undefined ? [] : [{ step: Number(step), path: joinPath(directory, name) }];
  }).sort((a, b) => a.step - b.step);
}

/** Where the checkpoint of a step lies. */
export function checkpointPath(directory: string, step: number): string {
  return joinPath(directory, `checkpoint-${String(step).padStart(8, "0")}.safetensors`);
}

/** Deletes all but the newest checkpoints, and what a killed run has left unfinished. */
export function pruneCheckpoints(directory: string, keep: number): void {
  const old = listCheckpoints(directory).slice(0, -keep).map(({ path }) => path);
  const unfinished = namesIn(directory).filter((name) =>
    UNFINISHED.test(name) && NAME.test(name.replace(UNFINISHED, ""))
  ).map((name) => joinPath(directory, name));
  for (const path of [...old, ...unfinished]) fs.rmSync(path, { force: true });
}

function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch (cause) {
    if ((cause as { code?: unknown }).code === "ENOENT") return [];
    throw ioError(`Cannot read the directory ${directory}`, cause);
  }
}

/** Writes a checkpoint, as a whole or not at all. */
export function writeCheckpoint(
  path: string,
  parameters: readonly Parameter<TrainableData>[],
  state: CheckpointState,
): void {
  const tensors = new Map<string, SafetensorsTensor>();
  for (const { name, shape, data } of parameters) {
    const values = data instanceof Tensor ? data.data() : data;
    tensors.set(`parameter.${name}`, { shape, data: values, dtype: dtypeOf(data) });
  }
  const add = (prefix: string, arrays: Arrays) => {
    for (const [name, data] of Object.entries(arrays)) {
      tensors.set(`${prefix}.${name}`, { shape: [data.length], data });
    }
  };
  add("optimizer", state.optimizer);
  add("history", state.history);
  for (const [hook, arrays] of Object.entries(state.hooks)) add(`hook.${hook}`, arrays);
  writeSafetensors(path, tensors, {
    metadata: { [METADATA]: JSON.stringify({ format: FORMAT, ...state.json }) },
  });
}

/**
 * Reads a checkpoint into parameters, after `accept` has looked at the rest and taken it over: where
 * that throws, no parameter has changed.
 */
export function readCheckpoint(
  path: string,
  parameters: readonly Parameter<TrainableData>[],
  accept: (state: CheckpointState) => void,
): void {
  using file = Safetensors.open(path);
  const json = readState(file);
  checkParameters(file, parameters);
  const names = file.names.filter((name) => !name.startsWith("parameter."));
  const read = (prefix: string) =>
    Object.fromEntries(
      names.filter((name) => name.startsWith(`${prefix}.`))
        .map((name) => [name.slice(prefix.length + 1), file.read(name)]),
    );
  const hooks = new Set(names.flatMap((name) => /^hook\.([\w-]+)\./.exec(name)?.[1] ?? []));
  accept({
    json,
    optimizer: read("optimizer"),
    history: read("history"),
    hooks: Object.fromEntries([...hooks].map((hook) => [hook, read(`hook.${hook}`)])),
  });
  for (const parameter of parameters) {
    // Widening is exact, and so is rounding back.
    setValues(parameter, file.readFloat32(`parameter.${parameter.name}`));
  }
}

function readState(file: Safetensors): Readonly<Record<string, unknown>> {
  const text = file.metadata.get(METADATA);
  if (text === undefined) throw invalid(file, `The metadata must have ${METADATA}`);
  let state: unknown;
  try {
    state = JSON.parse(text);
  } catch (cause) {
    throw invalid(file, `${METADATA} must be JSON`, cause);
  }
  if (typeof state !== "object" || state === null || Array.isArray(state)) {
    throw invalid(file, `${METADATA} must hold an object`);
  }
  const { format } = state as { format?: unknown };
  if (format !== FORMAT) {
    throw invalid(file, `${METADATA} must have the format ${FORMAT}, got ${String(format)}`);
  }
  return state as Record<string, unknown>;
}

const dtypeOf = (data: TrainableData) => data instanceof Uint16Array ? "BF16" : "F32";

function checkParameters(file: Safetensors, parameters: readonly Parameter<TrainableData>[]): void {
  const stored = file.names.filter((name) => name.startsWith("parameter."));
  for (const { name, shape, data } of parameters) {
    const dtype = dtypeOf(data);
    const key = `parameter.${name}`;
    if (!file.has(key)) throw invalid(file, `The checkpoint must have the tensor ${key}`);
    const found = file.tensor(key);
    if (found.dtype !== dtype || found.shape.join() !== shape.join()) {
      throw invalid(
        file,
        `Tensor ${key} must be ${dtype} [${shape.join(", ")}], got ${found.dtype} [${
          found.shape.join(", ")
        }]`,
      );
    }
  }
  if (stored.length !== parameters.length) {
    const known = new Set(parameters.map(({ name }) => `parameter.${name}`));
    const other = stored.find((name) => !known.has(name));
    throw invalid(file, `The model has no parameter for the tensor ${other}`);
  }
}

function invalid(file: Safetensors, message: string, cause?: unknown): Error {
  return tritterError("invalid_format", `${file.path}: ${message}`, { cause });
}
