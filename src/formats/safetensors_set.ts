// The tensors of a model directory, from one safetensors file or from several with an index.

import { TritterError, tritterError } from "../errors.ts";
import { joinPath, readJsonObject } from "./mapped_file.ts";
import { Safetensors, type SafetensorsInfo } from "./safetensors.ts";

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** A tensor and the file that it is in. */
export interface SetTensor extends SafetensorsInfo {
  /** The file. */
  readonly file: Safetensors;
}

/** Every safetensors file of a model, open at once. */
export class SafetensorsSet {
  /** The directory. */
  readonly directory: string;
  #files = new Map<string, Safetensors>();
  #tensors = new Map<string, Safetensors>();

  /** Opens `model.safetensors`, or the files that `model.safetensors.index.json` names. */
  constructor(directory: string) {
    this.directory = directory;
    try {
      this.#open();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #open(): void {
    try {
      this.#file(SINGLE);
    } catch (error) {
      if (!(error instanceof TritterError && error.code === "io")) throw error;
      this.#openIndex(error);
      return;
    }
    const file = this.#file(SINGLE);
    for (const name of file.names) this.#tensors.set(name, file);
  }

  #openIndex(cause: Error): void {
    const path = joinPath(this.directory, INDEX);
    let index: Record<string, unknown>;
    try {
      index = readJsonObject(path);
    } catch (error) {
      if (!(error instanceof TritterError && error.code === "io")) throw error;
      throw tritterError(
        "io",
        `${this.directory} must hold ${SINGLE} or ${INDEX}: ${cause.message}`,
        { cause },
      );
    }
    const weights = index.weight_map;
    if (typeof weights !== "object" || weights === null || Array.isArray(weights)) {
      throw tritterError("invalid_format", `${path}: weight_map must be an object`);
    }
    for (const [name, shard] of Object.entries(weights)) {
      const file = this.#file(checkShardName(shard, path));
      if (!file.has(name)) {
        throw tritterError(
          "invalid_format",
          `${path}: ${shard} must have the tensor ${JSON.stringify(name)}`,
        );
      }
      this.#tensors.set(name, file);
    }
  }

  #file(name: string): Safetensors {
    let file = this.#files.get(name);
    if (file === undefined) {
      file = Safetensors.open(joinPath(this.directory, name));
      this.#files.set(name, file);
    }
    return file;
  }

  /** The names of all tensors. */
  get names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** Returns a tensor and its file, or undefined. */
  find(name: string): SetTensor | undefined {
    const file = this.#tensors.get(name);
    return file && { file, ...file.tensor(name) };
  }

  /** Unmaps every file; more calls do nothing. */
  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file[Symbol.dispose]();
  }
}

/** A shard lies beside its index: a name with a path in it could reach any file of the machine. */
function checkShardName(name: unknown, path: string): string {
  if (typeof name !== "string" || !/^[^/\\:\0]+\.safetensors$/.test(name)) {
    throw tritterError(
      "invalid_format",
      `${path}: A shard must be the name of a .safetensors file beside the index, got ${
        JSON.stringify(name)
      }`,
    );
  }
  return name;
}
