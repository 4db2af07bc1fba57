/**
 * Ternary neural networks on the CPU: weights of -1, 0 and +1, packed to two bits each.
 *
 * @example
 * ```ts
 * import { PackedTernary } from "tritter-accel";
 *
 * // A layer with 64 inputs and 32 outputs: quantised, packed, multiplied.
 * const weights = Float32Array.from({ length: 32 * 64 }, (_, index) => Math.sin(index));
 * using packed = PackedTernary.fromWeights(weights, [32, 64]);
 * const output = packed.matmul(new Float32Array(64).fill(0.5));
 * console.log(output.length, packed.compressionRatio);
 * ```
 *
 * @module
 */

// Errors
export {
  TritterError,
  type TritterErrorCode,
  TritterRangeError,
  TritterRuntimeError,
  TritterTypeError,
} from "./src/errors.ts";

// Device
export {
  cudaAvailable,
  type Device,
  getDevice,
  getThreads,
  info,
  type Isa,
  type LibraryInfo,
  setDevice,
  setIsa,
  setThreads,
  version,
} from "./src/device.ts";

// Limits of the machine
export {
  type Limit,
  type LimitKind,
  measureLimits,
  type MeasureLimitsOptions,
} from "./src/limits.ts";

// Tensors
export { type Dtype, type DtypeOf, Tensor, type TensorArrays } from "./src/tensor.ts";

// Quantisation
export { quantizeActivationsAbsmax } from "./src/quantization/activations.ts";
export { QuantizationResult, quantizeAbsmax, quantizeAbsmean } from "./src/quantization/result.ts";
export {
  type QuantizeConfig,
  type QuantizeMethod,
  type QuantizeScaleConfig,
  quantizeWeightsAbsmean,
} from "./src/quantization/weights.ts";

// Packing and matrix products
export { packTernaryWeights, unpackTernaryWeights } from "./src/packing/bytes.ts";
export {
  type Activations,
  PackedTernary,
  type PackOptions,
  type TernaryMatmulConfig,
  type WeightLayout,
} from "./src/packing/packed_ternary.ts";
export { matmul, ternaryMatmul } from "./src/matmul.ts";

// Hypervectors
export { Hypervector } from "./src/vsa/hypervector.ts";
export { HypervectorBatch } from "./src/vsa/hypervector_batch.ts";
export { Hypervectors } from "./src/vsa/hypervectors.ts";
export type {
  BindMode,
  BindOptions,
  Distribution,
  HypervectorOptions,
  OutOptions,
  RandomOptions,
  SimilarityMetric,
  ThinOptions,
  TritCounts,
} from "./src/vsa/options.ts";
export type { ThresholdOptions } from "./src/vsa/formats.ts";
export { Permutation } from "./src/vsa/permutation.ts";
export { SparseHypervector } from "./src/vsa/sparse_hypervector.ts";

// Layers
export { BitLinear, type BitLinearOptions } from "./src/nn/bitlinear.ts";
export { type KeysAndValues, KVCache, type KVCacheOptions } from "./src/nn/kv_cache.ts";

// Inference
export { type InferenceConfig, InferenceEngine } from "./src/inference/engine.ts";
export { TernaryLayer, type TernaryLayerOptions } from "./src/inference/ternary_layer.ts";

// Models
export {
  Safetensors,
  type SafetensorsArray,
  type SafetensorsDtype,
  type SafetensorsInfo,
} from "./src/formats/safetensors.ts";
export type { BitNetQuantization, ModelConfig, RopeConfig } from "./src/inference/config.ts";
export type { GeneratedToken, GenerateOptions } from "./src/inference/generate.ts";
export { type HeadKind, loadModel, type LoadModelOptions } from "./src/inference/load.ts";
export {
  type CreateCacheOptions,
  type ForwardOptions,
  TernaryModel,
} from "./src/inference/model.ts";
export { StreamDecoder } from "./src/inference/stream_decoder.ts";
export { Tokenizer } from "./src/inference/tokenizer.ts";
