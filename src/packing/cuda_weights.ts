// Ternary weights on CUDA devices: the calls of the native library that packed_ternary.ts makes.

import { checkArray, checkFinite } from "../checks.ts";
import { cudaIndex, type Place } from "../device.ts";
import { tritterError } from "../errors.ts";
import { check, native, NativeHandle } from "../native/library.ts";
import { matrixShape, type QuantizeConfig } from "../quantization/weights.ts";
import { emptyTensor, memoryHandle, readTensor, Tensor } from "../tensor.ts";
import { checkScales, packedBytes } from "./bytes.ts";

/** What weights are, wherever they are. */
export interface WeightsInfo {
  rows: number;
  cols: number;
  groupSize: number;
  memoryBytes: number;
  nonzeros: number;
}

/** Reads [rows, cols, group size, number of scales, bytes of memory, nonzero weights]. */
export function weightsInfoOf(described: BigUint64Array): WeightsInfo {
  const [rows, cols, groupSize, , memoryBytes, nonzeros] = Array.from(described, Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return { rows, cols, groupSize, memoryBytes, nonzeros };
}

/** What a product is told. */
export interface CudaProduct {
  input: Float32Array | Tensor;
  activations: 0 | 1;
  bias: Float32Array | Tensor | undefined;
  out: Float32Array | Tensor | undefined;
}

/** Copies weights that the CPU has prepared, and frees those. */
export function moveToCuda(prepared: bigint, place: Place): bigint {
  using source = new NativeHandle(prepared, "PackedTernary");
  const handle = new BigUint64Array(1);
  check(native.cuda_weights_copy(source.value, cudaIndex(place), handle, 1));
  return handle[0]!;
}

/** Quantises a tensor where it is. */
export function quantizeOnCuda(
  weights: Tensor,
  shape: readonly [number, number] | undefined,
  config: QuantizeConfig,
): bigint {
  const { method = "absmean", scale = "method" } = config;
  if (method !== "absmean" || scale !== "method") {
    throw tritterError(
      "unsupported",
      `A tensor on ${weights.device} is quantised with method "absmean" and scale "method" only, ` +
        `got "${method}" and "${scale}"`,
    );
  }
  const [rows, cols] = matrixShape(weights, shape);
  const handle = new BigUint64Array(1);
  const source = memoryHandle(weights, "f32", weights.device, "weights");
  const group = config.groupSize ?? cols;
  if (!Number.isInteger(group) || group < 1 || cols % group !== 0) {
    throw tritterError(
      "invalid_option",
      `groupSize must divide the ${cols} columns, got ${group}`,
    );
  }
  check(native.cuda_weights_from_f32(source, rows, cols, group, handle, 1));
  return handle[0]!;
}

/** Packs a tensor of trits where it is. */
export function packOnCuda(
  ternary: Tensor,
  scales: Float32Array,
  [rows, cols]: readonly [number, number],
): bigint {
  checkScales(scales, rows, cols);
  const source = memoryHandle(ternary, "i8", ternary.device, "ternary");
  const handle = new BigUint64Array(1);
  check(
    native.cuda_weights_from_ternary(source, scales, scales.length, rows, cols, handle, 1),
  );
  return handle[0]!;
}

/** Returns what the library knows of weights on a device. */
export function cudaWeightsInfo(weights: bigint): WeightsInfo {
  const described = new BigUint64Array(7);
  check(native.cuda_weights_info(weights, described, described.length));
  return weightsInfoOf(described);
}

/** Returns the scales, the groups of row 0 first. */
export function cudaScales(weights: bigint, count: number): Float32Array<ArrayBuffer> {
  const scales = new Float32Array(count);
  check(native.cuda_weights_scales(weights, scales, scales.length));
  return scales;
}

/** Returns the wire format. */
export function cudaPackedBytes(
  weights: bigint,
  rows: number,
  cols: number,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(packedBytes(rows, cols));
  check(native.cuda_weights_to_packed(weights, bytes, bytes.length));
  return bytes;
}

/** Multiplies on the device: a tensor that is there gives a tensor, an array travels and gives one. */
export function multiplyOnCuda(
  weights: bigint,
  [rows, cols]: readonly [number, number],
  place: Place,
  product: CudaProduct,
): Float32Array<ArrayBuffer> | Tensor<"f32"> {
  const { input, activations, bias, out } = product;
  const temporary: Tensor[] = [];
  try {
    const resident = input instanceof Tensor ? input : upload(input, cols, product, place);
    if (resident !== input) temporary.push(resident);
    const biases = bias === undefined || bias instanceof Tensor
      ? bias
      : Tensor.from(checkArray(bias, Float32Array, "bias", rows), [rows], { device: place });
    if (biases !== undefined && biases !== bias) temporary.push(biases);
    const output = out instanceof Tensor
      ? out
      : emptyTensor([...resident.shape.slice(0, -1), rows], place);
    check(native.cuda_matmul(
      weights,
      memoryHandle(resident, "f32", place, "input"),
      biases === undefined ? 0n : memoryHandle(biases, "f32", place, "bias"),
      memoryHandle(output, "f32", place, "out"),
      activations,
    ));
    if (input instanceof Tensor) return output as Tensor<"f32">;
    temporary.push(output);
    if (out === undefined) return output.data() as Float32Array<ArrayBuffer>;
    readTensor(output, out as Float32Array<ArrayBuffer>);
    return out as Float32Array<ArrayBuffer>;
  } finally {
    for (const tensor of temporary) tensor[Symbol.dispose]();
  }
}

function upload(
  input: Float32Array,
  cols: number,
  { activations }: CudaProduct,
  place: Place,
): Tensor<"f32"> {
  if (activations === 1) checkFinite(input, "input");
  return Tensor.from(input, [input.length / cols, cols], { device: place });
}
