// Hands the tensors of a model's files to the native library, each checked against the config.

import { TritterError, tritterError } from "../errors.ts";
import { safetensorsHandle } from "../formats/safetensors.ts";
import type { SafetensorsSet, SetTensor } from "../formats/safetensors_set.ts";
import { check, native } from "../native/library.ts";
import type { ModelConfig } from "./config.ts";
import { INPUT_NORM, ROLES, type TensorSpec } from "./layout.ts";

/** Numbers of the native library for the types that it reads. */
const DTYPES: Readonly<Record<string, number>> = { F32: 0, F16: 1, BF16: 2, U8: 3, I8: 4 };
const FLOATS = ["F32", "F16", "BF16"];
const CHUNK = 2 ** 16;

/** How the stored trits become weights; numbers of the native library. */
const MULTIPLY = 0;
const DIVIDE = 1;
const QUANTIZE = 2;

interface Scaling {
  scale: number;
  mode: number;
}

/** A tensor of a model, found and checked, ready to be set. */
export interface FoundTensor {
  /** What it is for. */
  readonly spec: TensorSpec;
  /** Where it is. */
  readonly tensor: SetTensor;
}

/** Looks up every tensor; throws `invalid_format` naming the first that is missing or does not fit. */
export function findTensors(files: SafetensorsSet, specs: readonly TensorSpec[]): FoundTensor[] {
  return specs.map((spec) => {
    const tensor = files.find(spec.name);
    if (tensor === undefined) {
      throw tritterError(
        "invalid_format",
        `${files.directory}: The model must have the tensor ${spec.name}`,
      );
    }
    checkTensor(spec, tensor);
    return { spec, tensor };
  });
}

function checkTensor(spec: TensorSpec, { dtype, shape }: SetTensor): void {
  const dtypes = spec.kind === "linear" ? [...FLOATS, "U8", "I8"] : FLOATS;
  if (!dtypes.includes(dtype)) {
    throw tritterError(
      "invalid_format",
      `Tensor ${spec.name} must have the dtype ${dtypes.join(" or ")}, got ${dtype}`,
    );
  }
  const rows = dtype === "U8" ? spec.rows / 4 : spec.rows;
  const wanted = spec.kind === "vector" ? [spec.cols] : [rows, spec.cols];
  if (shape.length !== wanted.length || shape.some((size, axis) => size !== wanted[axis])) {
    throw tritterError(
      "invalid_format",
      `Tensor ${spec.name} of dtype ${dtype} must have the shape [${wanted.join(", ")}], got [${
        shape.join(", ")
      }]`,
    );
  }
}

/** Sets tensors one by one; remembers the scale of each linear layer for its bias. */
export class WeightSetter {
  #model: bigint;
  #config: ModelConfig;
  #files: SafetensorsSet;
  #scaling: Scaling = { scale: 1, mode: MULTIPLY };

  /** Sets the tensors of `model`; `files` may be closed afterwards. */
  constructor(model: bigint, config: ModelConfig, files: SafetensorsSet) {
    this.#model = model;
    this.#config = config;
    this.#files = files;
  }

  /** Sets one tensor. */
  set({ spec, tensor }: FoundTensor): void {
    if (spec.kind === "linear") this.#scaling = this.#findScaling(spec, tensor);
    // A bias follows its layer and shares its scale; a layer's own norm has its epsilon in that
    // place, and other tensors ignore it.
    const { scale, mode } = spec.role >= ROLES.q + INPUT_NORM
      ? { scale: this.#config.quantization.rmsNormEps, mode: MULTIPLY }
      : this.#scaling;
    const options = Float64Array.of(
      spec.role,
      spec.layer,
      DTYPES[tensor.dtype]!,
      spec.rows,
      spec.cols,
      tensor.offsetBytes,
      tensor.sizeBytes,
      scale,
      mode,
    );
    try {
      const file = safetensorsHandle(tensor.file);
      check(native.model_set_tensor(this.#model, file, options, options.length));
    } catch (error) {
      throw namedError(error, spec.name);
    }
  }

  #findScaling(spec: TensorSpec, tensor: SetTensor): Scaling {
    const { linearClass, mode } = this.#config.quantization;
    const trits = linearClass === "autobitlinear" ? MULTIPLY : DIVIDE;
    const name = `${spec.name}_scale`;
    const packed = tensor.dtype === "U8" || tensor.dtype === "I8";
    const found = this.#files.find(name);
    if (packed && found === undefined) {
      throw tritterError(
        "invalid_format",
        `${this.#files.directory}: The model must have the tensor ${name}`,
      );
    }
    // In online mode a scale is never stored, and the mean decides even if the weights are trits.
    if (found === undefined || (!packed && mode === "online")) return { scale: 1, mode: QUANTIZE };
    const scale = readScale(found, name, trits === DIVIDE);
    if (packed || holdsTrits(tensor, spec)) return { scale, mode: trits };
    if (scale === 1) return { scale, mode: QUANTIZE };
    throw tritterError(
      "invalid_format",
      `Tensor ${spec.name} must hold only -1, 0 and 1 because ${name} is ${scale}`,
    );
  }
}

function readScale(tensor: SetTensor, name: string, divides: boolean): number {
  if (!FLOATS.includes(tensor.dtype) || tensor.shape.some((size) => size !== 1)) {
    throw tritterError(
      "invalid_format",
      `Tensor ${name} must be one number of dtype ${FLOATS.join(" or ")}, got ${tensor.dtype} [${
        tensor.shape.join(", ")
      }]`,
    );
  }
  const scale = tensor.file.readFloat32(name)[0]!;
  if (!Number.isFinite(scale) || (divides && !Number.isFinite(Math.fround(1 / scale)))) {
    throw tritterError("invalid_format", `Tensor ${name} must be a finite scale, got ${scale}`);
  }
  return scale;
}

/** Reads a float tensor until a value is not a trit: at once, in all but unpacked ternary models. */
function holdsTrits(tensor: SetTensor, spec: TensorSpec): boolean {
  const elements = spec.rows * spec.cols;
  for (let start = 0; start < elements; start += CHUNK) {
    const count = Math.min(CHUNK, elements - start);
    for (const value of tensor.file.readFloat32(spec.name, start, count)) {
      if (value !== 0 && value !== 1 && value !== -1) return false;
    }
  }
  return true;
}

/** The native library does not know names; a bad value there means a bad file here. */
function namedError(error: unknown, name: string): unknown {
  if (!(error instanceof TritterError)) return error;
  const code = error.code.startsWith("invalid_") ? "invalid_format" : error.code;
  return tritterError(code, `Tensor ${name}: ${error.message}`, { cause: error });
}
