// What an inference engine does on a CUDA device: the calls of the native library that engine.ts makes.

import { checkArray } from "../checks.ts";
import type { Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import { denseMatmul } from "../matmul.ts";
import { check, native } from "../native/library.ts";
import { emptyTensor, memoryHandle, Tensor } from "../tensor.ts";

/** A vector of weights or biases. */
type Vector = Float32Array | Tensor;

const handleOf = (tensor: Tensor, place: Place, name: string) =>
  memoryHandle(tensor, "f32", place, name);

/** A new tensor that a call fills; nothing is left of it where that fails. */
function computed(
  shape: readonly number[],
  place: Place,
  run: (out: bigint) => number,
): Tensor<"f32"> {
  const output = emptyTensor(shape, place);
  try {
    check(run(handleOf(output, place, "out")));
    return output;
  } catch (error) {
    output[Symbol.dispose]();
    throw error;
  }
}

/** Calls with a vector that is on the device: the tensor itself, or a copy of an array. */
function withVector<T>(
  vector: Vector | undefined,
  size: number,
  name: string,
  place: Place,
  run: (handle: bigint) => T,
): T {
  if (vector === undefined) return run(0n);
  if (vector instanceof Tensor) {
    if (vector.size === size) return run(handleOf(vector, place, name));
    throw tritterError("invalid_length", `${name} must have ${size} elements, got ${vector.size}`);
  }
  using copy = Tensor.from(checkArray(vector, Float32Array, name, size), [size], { device: place });
  return run(handleOf(copy, place, name));
}

/** How many elements a vector has. */
export function vectorSize(vector: Vector, name: string): number {
  return vector instanceof Tensor ? vector.size : checkArray(vector, Float32Array, name).length;
}

/** The softmaxes of `size` elements, `stride` places apart. */
export function softmaxOnCuda(
  input: Tensor,
  place: Place,
  size: number,
  stride: number,
): Tensor<"f32"> {
  const source = handleOf(input, place, "input");
  return computed(input.shape, place, (out) => native.cuda_softmax(source, out, size, stride));
}

/** Layer norm of the rows. */
export function layerNormOnCuda(
  input: Tensor,
  place: Place,
  weight: Vector,
  bias: Vector | undefined,
  epsilon: number,
): Tensor<"f32"> {
  const source = handleOf(input, place, "input");
  const size = input.shape.at(-1)!;
  return withVector(
    weight,
    size,
    "weight",
    place,
    (weights) =>
      withVector(bias, size, "bias", place, (biases) =>
        computed(
          input.shape,
          place,
          (out) => native.cuda_layer_norm(source, weights, biases, out, epsilon),
        )),
  );
}

/** RMS norm of the rows. */
export function rmsNormOnCuda(
  input: Tensor,
  place: Place,
  weight: Vector,
  epsilon: number,
): Tensor<"f32"> {
  const source = handleOf(input, place, "input");
  return withVector(weight, input.shape.at(-1)!, "weight", place, (weights) =>
    computed(
      input.shape,
      place,
      (out) => native.cuda_rms_norm_forward(source, weights, out, epsilon),
    ));
}

/** Rows times the transpose of dense weights [rows, cols], and a bias. */
export function linearOnCuda(
  input: Tensor,
  place: Place,
  weights: Tensor,
  bias: Vector | undefined,
): Tensor<"f32"> {
  handleOf(input, place, "input");
  handleOf(weights, place, "weights");
  const [rows, cols] = weights.shape as readonly [number, number];
  using product = denseMatmul(input, weights, [input.size / cols, rows, cols], {
    transposeB: true,
  });
  if (bias !== undefined) {
    withVector(bias, rows, "bias", place, (biases) => {
      check(native.cuda_add_row(handleOf(product, place, "out"), biases));
    });
  }
  return product.reshape([...input.shape.slice(0, -1), rows]);
}

/** Copies elements of a tensor on a device into another one there. */
function copyPart(source: Tensor, from: number, target: Tensor, to: number, count: number): void {
  const place = target.device;
  check(native.cuda_tensor_copy_part(
    ...[handleOf(source, place, "the result"), BigInt(4 * from)] as const,
    ...[handleOf(target, place, "out"), BigInt(4 * to), BigInt(4 * count)] as const,
  ));
}

/** A copy of some rows. */
export function sliceOnCuda(
  input: Tensor,
  place: Place,
  start: number,
  count: number,
): Tensor<"f32"> {
  handleOf(input, place, "input");
  const shape = [count, ...input.shape.slice(1)];
  const rowSize = input.size / input.shape[0]!;
  const slice = emptyTensor(shape, place);
  try {
    copyPart(input, start * rowSize, slice, 0, slice.size);
    return slice;
  } catch (error) {
    slice[Symbol.dispose]();
    throw error;
  }
}

/** Puts rows into the whole of which they are a part. */
export function joinOnCuda(part: Tensor, whole: Tensor, start: number): void {
  copyPart(part, 0, whole, start * (whole.size / whole.shape[0]!), part.size);
}
