/**
 * Ternary neural networks and hyperdimensional computing on the CPU: -1, 0 and +1 in two bits each.
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

// Gradients
export {
  type CompressedInfo,
  compressedInfo,
  type CompressOptions,
  createCodec,
  decompressGradients,
  type DecompressOptions,
  GradientCodec,
} from "./src/gradients/codec.ts";
export {
  type CompressedGradient,
  compressGradientsVsa,
  decompressGradientsVsa,
  GradientCompressor,
  type TernaryCompressedGradient,
  type TrainingConfig,
} from "./src/gradients/compressor.ts";
export {
  ErrorFeedback,
  type ErrorFeedbackOptions,
  type ErrorFeedbackState,
} from "./src/gradients/error_feedback.ts";
export type { CodecName, CodecOptions } from "./src/gradients/kind.ts";
export type { ProjectionMethod } from "./src/gradients/projection.ts";
export { addCompressed, type AddCompressedOptions } from "./src/gradients/sketches.ts";
export { type CompressionStats, compressionStats } from "./src/gradients/stats.ts";

// Hypervectors
export { Bundler, type BundlerResultOptions } from "./src/vsa/bundler.ts";
export type { BundleOptions, SignOptions } from "./src/vsa/bundling.ts";
export { Hypervector } from "./src/vsa/hypervector.ts";
export { HypervectorBatch, type TopK, type TopKOptions } from "./src/vsa/hypervector_batch.ts";
export { Hypervectors } from "./src/vsa/hypervectors.ts";
export { ItemMemory, type ItemMemoryMatch, type ItemMemoryOptions } from "./src/vsa/item_memory.ts";
export type {
  BindMode,
  BindOptions,
  Distribution,
  HypervectorOptions,
  OutOptions,
  RandomOptions,
  SimilarityMetric,
  ThinOptions,
  Tie,
  TritCounts,
} from "./src/vsa/options.ts";

// Trits and words
export {
  addTernary,
  compareTernary,
  fromBalancedTernary,
  multiplyTernary,
  negateTernary,
  toBalancedTernary,
} from "./src/vsa/balanced.ts";
export { TernaryWord, type WordProduct, type WordSum } from "./src/vsa/ternary_word.ts";
export { Trit, type TritArithmetic } from "./src/vsa/trit.ts";
export { Tryte3, Word6 } from "./src/vsa/word.ts";
export type { ThresholdOptions } from "./src/vsa/formats.ts";
export { Permutation } from "./src/vsa/permutation.ts";
export { SparseHypervector } from "./src/vsa/sparse_hypervector.ts";

// Structures of hypervectors
export {
  AssociativeMemory,
  type AssociativeMemoryOptions,
  type RecallOptions,
} from "./src/vsa/associative_memory.ts";
export type { DevicePreference } from "./src/vsa/device_preference.ts";
export {
  encodeNgrams,
  type EncodeNgramsOptions,
  encodeSequence,
  encodeSet,
  type VectorList,
} from "./src/vsa/encodings.ts";
export { FiniteStateAutomaton } from "./src/vsa/finite_state_automaton.ts";
export {
  type VsaArrayOptions,
  vsaBind,
  type VsaBindOptions,
  vsaBundle,
  type VsaBundleOptions,
  type VsaFunctionOptions,
  vsaRandom,
  type VsaRandomOptions,
  vsaSimilarity,
  type VsaSimilarityOptions,
  vsaUnbind,
} from "./src/vsa/functions.ts";
export { Graph, type GraphOptions, type NeighborsOptions } from "./src/vsa/graph.ts";
export { HashTable } from "./src/vsa/hash_table.ts";
export { Multiset } from "./src/vsa/multiset.ts";
export {
  type EncodeRecordOptions,
  RecordEncoder,
  type RecordEncoderOptions,
} from "./src/vsa/record_encoder.ts";
export { type Factorization, Resonator, type ResonatorOptions } from "./src/vsa/resonator.ts";
export { Sequence } from "./src/vsa/sequence.ts";
export {
  type StructureMode,
  type StructureOptions,
  Superposition,
} from "./src/vsa/superposition.ts";
export { type VsaConfig, VsaOps } from "./src/vsa/vsa_ops.ts";

// Encoders and classifiers of hypervectors
export {
  CategoricalEncoder,
  type CategoricalEncoderOptions,
} from "./src/vsa/categorical_encoder.ts";
export { CentroidClassifier } from "./src/vsa/centroid_classifier.ts";
export type {
  Evaluation,
  FitOptions,
  LearningRule,
  LearnOptions,
  Samples,
} from "./src/vsa/learning.ts";
export { NgramEncoder, type NgramEncoderOptions } from "./src/vsa/ngram_encoder.ts";
export { ProjectionEncoder, type ProjectionEncoderOptions } from "./src/vsa/projection_encoder.ts";
export {
  CircularEncoder,
  type CircularEncoderOptions,
  LevelEncoder,
  ScalarEncoder,
  ThermometerEncoder,
} from "./src/vsa/scalar_encoders.ts";
export type { SymbolText } from "./src/vsa/symbol_table.ts";
export {
  type LevelEncoderOptions,
  type ScalarEncoderOptions,
  ValueEncoder,
} from "./src/vsa/value_encoder.ts";

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
