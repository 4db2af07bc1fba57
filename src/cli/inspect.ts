// tritter inspect: what is in a model directory or in a safetensors file.

import { statSync } from "node:fs";
import { readConfig } from "../inference/config.ts";
import { countParameters, modelTensors } from "../inference/layout.ts";
import { chooseTables } from "../inference/load.ts";
import { findTensors } from "../inference/weights.ts";
import { TritterError, tritterError } from "../errors.ts";
import { joinPath, readJsonObject } from "../formats/mapped_file.ts";
import { Safetensors, type SafetensorsInfo } from "../formats/safetensors.ts";
import { SafetensorsSet } from "../formats/safetensors_set.ts";
import type { Command } from "./command.ts";
import { bytes, fields, table } from "./text.ts";

interface TensorLine {
  name: string;
  dtype: string;
  shape: readonly number[];
  bytes: number;
}

const lineOf = (name: string, { dtype, shape, sizeBytes }: SafetensorsInfo): TensorLine => ({
  name,
  dtype,
  shape,
  bytes: sizeBytes,
});

const sizeOf = (tensors: readonly TensorLine[]) =>
  tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);

function tensorTable(tensors: readonly TensorLine[]): string {
  return table([
    ["tensor", "dtype", "shape", "bytes"],
    ...tensors.map(({ name, dtype, shape, bytes }) => [name, dtype, shape.join(" x "), bytes]),
  ]);
}

/** Whether this library can load the model, and if not, why. */
function describeModel(directory: string, files: SafetensorsSet) {
  try {
    const config = readConfig(directory);
    const specs = modelTensors(config, chooseTables(files, config));
    findTensors(files, specs);
    return { config, parameters: countParameters(specs), reason: null };
  } catch (error) {
    if (!(error instanceof TritterError)) throw error;
    return { config: null, parameters: null, reason: error.message };
  }
}

function inspectDirectory(directory: string) {
  const json = readJsonObject(joinPath(directory, "config.json"));
  using files = new SafetensorsSet(directory);
  const tensors = files.names.map((name) => lineOf(name, files.find(name)!));
  const { config, parameters, reason } = describeModel(directory, files);
  const [architecture = null] = Array.isArray(json.architectures) ? json.architectures : [];
  return {
    kind: "model",
    path: directory,
    architecture: architecture as string | null,
    loadable: reason === null,
    reason,
    parameters,
    bytes: sizeOf(tensors),
    config,
    tensors,
  };
}

function inspectFile(path: string) {
  using file = Safetensors.open(path);
  const tensors = file.names.map((name) => lineOf(name, file.tensor(name)));
  const metadata = Object.fromEntries(file.metadata);
  return { kind: "safetensors", path, metadata, bytes: sizeOf(tensors), tensors };
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (cause) {
    throw tritterError("io", `Cannot read ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** Tells what is in a model directory or a safetensors file. */
export const inspect: Command = {
  summary: "what is in a model directory or in a safetensors file",
  usage: "<model directory or .safetensors file> [--json]",
  arguments: [1, 1],
  options: {},
  async run([path], _values, { write }) {
    if (!isDirectory(path!)) {
      const found = inspectFile(path!);
      write(tensorTable(found.tensors));
      write(`\n${found.tensors.length} tensors, ${bytes(found.bytes)}\n`);
      return await Promise.resolve(found);
    }
    const found = inspectDirectory(path!);
    const { config } = found;
    write(tensorTable(found.tensors));
    write("\n");
    write(fields({
      architecture: found.architecture ?? "unknown",
      tensors: `${found.tensors.length}, ${bytes(found.bytes)}`,
      ...(config === null ? {} : {
        parameters: found.parameters!,
        layers: `${config.layers} of width ${config.hiddenSize}, ${config.intermediateSize} inside`,
        heads: `${config.heads} of ${config.headDim}, ${config.kvHeads} for keys and values`,
        vocabulary: config.vocabSize,
        quantisation: `${config.quantization.linearClass}, ${config.quantization.mode}`,
      }),
      loadable: found.loadable ? "yes" : `no: ${found.reason}`,
    }));
    return found;
  },
};
