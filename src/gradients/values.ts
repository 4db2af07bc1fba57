// Where gradients are: arrays, and tensors on the CPU or on a CUDA device.

import { checkArray, checkOptions } from "../checks.ts";
import { type Device, type Place, placeOf } from "../device.ts";
import { tritterError } from "../errors.ts";
import { emptyTensor, floatsOf, memoryHandle, Tensor } from "../tensor.ts";
import type { CudaValues, Values } from "./kind.ts";

/** Where gradients go when they come back. */
export interface DecompressOptions {
  /** As many elements as there are gradients, to write to instead of allocating. */
  out?: Float32Array | undefined;
}

/** The tensor that gradients come back as. */
export interface DecompressTensorOptions {
  /** An f32 tensor of as many elements as there are gradients, to write to, on any device. */
  out?: Tensor | undefined;
  /** Where a new tensor is to be, of one axis; that of `out` if there is one. */
  device?: Device | undefined;
}

/** Gradients that can be written anywhere. */
export interface Source {
  /** How many there are. */
  readonly count: number;
  /** Throws where they cannot be computed on a device. */
  expectPlace?(place: Place): void;
  /** Writes them. */
  write(out: Values): void;
}

/** The gradients of a tensor, where they are. */
export function valuesOf(tensor: Tensor, name: string): Values {
  const { device } = tensor;
  if (device === "cpu") return floatsOf(tensor, name);
  const handle = memoryHandle(tensor, "f32", device, name);
  return { handle, length: tensor.size } satisfies CudaValues;
}

/** Calls a function with gradients: those of a tensor where they are, an array's on a device. */
export function withValues<Result>(
  gradients: Float32Array | Tensor,
  place: Place,
  use: (values: Values) => Result,
): Result {
  if (gradients instanceof Tensor) return use(valuesOf(gradients, "gradients"));
  checkArray(gradients, Float32Array, "gradients");
  if (gradients.length === 0) {
    throw tritterError("invalid_length", "gradients must have at least one element, got none");
  }
  if (place === "cpu") return use(gradients);
  using there = Tensor.from(gradients, [gradients.length], { device: place });
  return use(valuesOf(there, "gradients"));
}

/** Writes gradients into a tensor: the caller's, or a new one. */
function restoreTensor(
  source: Source,
  { out, device }: DecompressTensorOptions,
): Tensor<"f32"> {
  const { count } = source;
  const place = device === undefined && out !== undefined ? out.device : placeOf(device);
  if (out !== undefined) {
    if (out.device !== place) {
      throw tritterError("invalid_value", `out must be on ${place}, got a tensor on ${out.device}`);
    }
    if (out.size !== count) {
      throw tritterError("invalid_length", `out must have ${count} elements, got ${out.size}`);
    }
    source.expectPlace?.(place);
    source.write(valuesOf(out, "out"));
    return out as Tensor<"f32">;
  }
  source.expectPlace?.(place);
  const target = place === "cpu"
    ? Tensor.from(new Float32Array(count), [count], { device: "cpu" })
    : emptyTensor([count], place);
  try {
    source.write(valuesOf(target, "out"));
    return target;
  } catch (error) {
    target[Symbol.dispose]();
    throw error;
  }
}

/** Writes gradients where the options say; an array is computed on `place`. */
export function restore(
  source: Source,
  options: DecompressOptions | DecompressTensorOptions | undefined,
  place: Place,
): Float32Array<ArrayBuffer> | Tensor<"f32"> {
  const given: { out?: Float32Array | Tensor | undefined; device?: Device | undefined } =
    checkOptions(options, "options");
  const { out, device } = given;
  if (out instanceof Tensor) return restoreTensor(source, { out, device });
  if (device !== undefined && out === undefined) return restoreTensor(source, { device });
  if (device !== undefined) {
    throw tritterError("invalid_type", "out must be a Tensor where options name a device");
  }
  const target =
    (out === undefined
      ? new Float32Array(source.count)
      : checkArray(out, Float32Array, "out", source.count)) as Float32Array<ArrayBuffer>;
  if (place === "cpu") {
    source.write(target);
  } else {
    using there = restoreTensor(source, { device: place });
    target.set(there.data());
  }
  return target;
}
