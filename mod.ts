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
  type CudaInfo,
  type Device,
  getDevice,
  getThreads,
  info,
  type Isa,
  type LibraryInfo,
  type Place,
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
  type TernaryMatmulConfig,
} from "./src/packing/packed_ternary.ts";
export { type PackOptions, type WeightLayout } from "./src/packing/keep.ts";
export {
  denseMatmul,
  type DenseMatmulOptions,
  type DenseTensorOptions,
  matmul,
  ternaryMatmul,
} from "./src/matmul.ts";

// Gradients
export {
  type CompressedInfo,
  compressedInfo,
  type CompressOptions,
  createCodec,
  decompressGradients,
  GradientCodec,
  type GradientCodecState,
} from "./src/gradients/codec.ts";
export {
  type CompressedGradient,
  type CompressGradientsOptions,
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
export type { DecompressOptions, DecompressTensorOptions } from "./src/gradients/values.ts";

// Hypervectors
export { Bundler, type BundlerResultOptions } from "./src/vsa/bundler.ts";
export type { BundleOptions, SignOptions } from "./src/vsa/bundling.ts";
export { Hypervector } from "./src/vsa/hypervector.ts";
export { HypervectorBatch } from "./src/vsa/hypervector_batch.ts";
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
export type { ConcatOptions, RowCounts } from "./src/vsa/rows.ts";
export type { SimilarityOptions, TopK, TopKOptions, TopKOut } from "./src/vsa/search.ts";

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
export { type SparseBindOptions, SparseHypervector } from "./src/vsa/sparse_hypervector.ts";
export { SparseTrits } from "./src/vsa/sparse_trits.ts";

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

// Layers that train
export { ActivationGate, type GateGradients } from "./src/nn/activation_gate.ts";
export {
  type AttentionGradients,
  CausalAttention,
  type CausalAttentionOptions,
} from "./src/nn/causal_attention.ts";
export { CrossEntropyHead, type HeadGradientOptions } from "./src/nn/cross_entropy_head.ts";
export { QuantizedTokens } from "./src/nn/quantized_tokens.ts";
export { RotaryEmbedding, type RotaryEmbeddingOptions } from "./src/nn/rotary_embedding.ts";
export type {
  GradientData,
  GradientOptions,
  LatentType,
  Parameter,
  ParameterData,
  Trainable,
  TrainableData,
} from "./src/nn/trainable.ts";
export {
  type LatentArray,
  type LayerGradient,
  type LayerOutput,
  TrainableBitLinear,
  type TrainableBitLinearOptions,
} from "./src/nn/trainable_bitlinear.ts";
export {
  TrainableEmbedding,
  type TrainableEmbeddingOptions,
} from "./src/nn/trainable_embedding.ts";
export { TrainableRmsNorm, type TrainableRmsNormOptions } from "./src/nn/trainable_rms_norm.ts";

// Training: models, optimisers, schedules
export type { Optimizer } from "./src/training/optimizer.ts";
export { AdamW, type AdamWOptions, Sgd, type SgdOptions } from "./src/training/optimizers.ts";
export { type LearningRateOptions, learningRateSchedule } from "./src/training/schedule.ts";
export {
  CudaTransformer,
  TrainableTransformer,
  type TrainableTransformerOptions,
} from "./src/training/transformer.ts";
export type { TransformerConfig } from "./src/training/transformer_config.ts";

// Training: mixed precision and accumulation
export {
  clipByGlobalNorm,
  clipByValue,
  type ClipByValueOptions,
  globalNorm,
  hasOverflow,
} from "./src/training/clip.ts";
export {
  type AccumulateOptions,
  GradientAccumulator,
} from "./src/training/gradient_accumulator.ts";
export {
  clearGradients,
  type Gradients,
  type GradientSizes,
  type GradientsOf,
  type GradientsOutOptions,
  type TensorGradients,
} from "./src/training/gradients.ts";
export {
  type FloatOutOptions,
  type FloatTensorOptions,
  fromBf16,
  fromF16,
  type HalfOutOptions,
  type HalfTensorOptions,
  toBf16,
  toF16,
} from "./src/formats/half.ts";
export {
  LossScaler,
  type LossScalerConfig,
  type LossScalerState,
} from "./src/training/loss_scaler.ts";
export {
  type TernaryAccumulatorConfig,
  TernaryGradientAccumulator,
} from "./src/training/ternary_accumulator.ts";

// Training: predicted gradients
export {
  type DeterministicPhaseConfig,
  DeterministicPhaseTrainer,
} from "./src/training/deterministic_phase_trainer.ts";
export {
  DeterministicPredictor,
  type DeterministicPredictorConfig,
} from "./src/training/deterministic_predictor.ts";
export {
  GradientPredictor,
  type GradientPredictorConfig,
} from "./src/training/gradient_predictor.ts";
export {
  type LossAnomaly,
  LossHistory,
  type LossHistoryConfig,
  type LossHistoryState,
  type LossMeasurement,
} from "./src/training/loss_history.ts";
export type { LossStatistics } from "./src/training/loss_statistics.ts";
export {
  type PhaseConfig,
  type PhaseStats,
  PhaseTrainer,
  type PhaseTrainerOptions,
} from "./src/training/phase_trainer.ts";
export type {
  Phase,
  PhaseAdaptation,
  PhaseCounts,
  PhaseLengths,
  StepInfo,
} from "./src/training/phases.ts";
export type { PredictionError, Predictor, PredictorStats } from "./src/training/predictor.ts";
export type { TrainingState } from "./src/training/state.ts";

// Distributed training: processes that work together
export type {
  AllReduceOptions,
  BroadcastOptions,
  Communicator,
  CommunicatorArray,
  CommunicatorData,
  ReduceOperation,
  ReduceOptions,
} from "./src/distributed/communicator.ts";
export { type CommunicatorOptions, createCommunicator } from "./src/distributed/create.ts";

// Distributed training: what is exchanged
export {
  averageGradients,
  type AverageGradientsOptions,
} from "./src/distributed/average_gradients.ts";
export { CompressedAdam, type CompressedAdamOptions } from "./src/distributed/compressed_adam.ts";
export { localSteps, type LocalStepsOptions } from "./src/distributed/local_steps.ts";
export type { ExchangeOptions } from "./src/distributed/mean_exchange.ts";
export { ShardedOptimizer } from "./src/distributed/sharded_optimizer.ts";

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
export {
  type SafetensorsData,
  type SafetensorsTensor,
  writeSafetensors,
  type WriteSafetensorsOptions,
} from "./src/formats/safetensors_writer.ts";
export type { BitNetQuantization, ModelConfig, RopeConfig } from "./src/inference/config.ts";
export {
  type ExportableModel,
  exportModel,
  type ExportModelOptions,
} from "./src/inference/export.ts";
export type { GeneratedToken, GenerateOptions } from "./src/inference/generate.ts";
export { type HeadKind, loadModel, type LoadModelOptions } from "./src/inference/load.ts";
export {
  type CreateCacheOptions,
  type ForwardOptions,
  TernaryModel,
} from "./src/inference/model.ts";
export {
  type QuantizedLayer,
  type QuantizedModel,
  quantizeModel,
  type QuantizeModelOptions,
} from "./src/inference/quantize_model.ts";
export { StreamDecoder } from "./src/inference/stream_decoder.ts";
export { Tokenizer } from "./src/inference/tokenizer.ts";

// Training: the trainer
export {
  codecHook,
  type CodecHookOptions,
  type GradientCompression,
} from "./src/training/codec_hook.ts";
export { type TextDatasetOptions, type TokenBatch, TokenDataset } from "./src/training/dataset.ts";
export {
  type DocumentOptions,
  type DocumentSplit,
  readDocuments,
  splitDocuments,
  splitText,
} from "./src/training/documents.ts";
export type {
  GradientExchange,
  HookState,
  TrainerHook,
  TrainerStep,
} from "./src/training/hooks.ts";
export { drawLossCurve, type LossCurve, type LossPoint } from "./src/training/loss_curve.ts";
export { phaseHook } from "./src/training/phase_hook.ts";
export { Trainer, type TrainingResult } from "./src/training/trainer.ts";
export type {
  OptimizerSettings,
  TrainerOptions,
  TrainerSettings,
} from "./src/training/trainer_options.ts";
export {
  type DataSettings,
  type DeviceTraining,
  loadTraining,
  type Training,
  type TrainingFile,
  type TrainingOverrides,
} from "./src/training/training_file.ts";
