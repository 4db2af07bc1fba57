// Calls that are right, and an instance of every class, for the malformed calls to begin with.

import { fileURLToPath } from "node:url";
import * as api from "../mod.ts";
import { TRAINING_INSTANCES, VALID_ON_TRAINING } from "./abuse_training.ts";
import { DISTRIBUTED_INSTANCES, DISTRIBUTED_VALID } from "./abuse_distributed.ts";
import { GRADIENTS_INSTANCES, GRADIENTS_VALID } from "./abuse_gradients.ts";
import { LAYER_INSTANCES, LAYERS, VALID_ON_LAYERS } from "./abuse_layers.ts";
import { TRAINER_INSTANCES, VALID_ON_TRAINERS } from "./abuse_trainer.ts";
import { CONSTRUCTED, VSA_INSTANCES, VSA_VALID } from "./abuse_vsa.ts";

export const modelFolder: string = fileURLToPath(
  new URL("../examples/models/bitnet-jargon/", import.meta.url),
);
export const model: api.TernaryModel = await api.loadModel(modelFolder);

export const floats = (length: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length }, (_, at) => Math.sin(at + 1));
export const trits = (length: number): Int8Array<ArrayBuffer> =>
  Int8Array.from({ length }, (_, at) => at % 3 - 1);
const packed = () => api.PackedTernary.fromWeights(floats(64), [4, 16]);

/** Calls that are right, for spoiling; functions that are not named here get garbage only. */
export const VALID: Record<string, () => unknown[]> = {
  quantizeWeightsAbsmean: () => [floats(64), [4, 16], { groupSize: 8 }],
  quantizeActivationsAbsmax: () => [floats(64), [4, 16]],
  packTernaryWeights: () => [trits(64), floats(4), [4, 16]],
  unpackTernaryWeights: () => [new Uint8Array(16), floats(4), [4, 16]],
  ternaryMatmul: () => [
    floats(32),
    new Uint8Array(16),
    floats(4),
    [4, 16],
    { device: "cpu", activations: "int8", bias: floats(4), out: new Float32Array(8) },
  ],
  matmul: () => [floats(32), packed(), { bias: floats(4), out: new Float32Array(8) }],
  quantizeAbsmean: () => [floats(64), [4, 16], { groupSize: 8, scale: "leastSquares" }],
  quantizeAbsmax: () => [floats(64), [4, 16], { groupSize: 8 }],
  setThreads: () => [2],
  setDevice: () => ["cpu"],
  setIsa: () => [api.info().isa],
  measureLimits: () => [{ kind: "read", sizeBytes: 1 << 20, durationMs: 1 }],
  Tensor: () => [floats(64), [4, 16], { device: "cpu" }],
  "Tensor.from": () => [floats(64), [4, 16], { device: "cpu" }],
  "Tensor#to": () => ["cpu"],
  "Tensor#reshape": () => [[8, 8]],
  "PackedTernary.fromTernary": () => [trits(64), floats(8), [4, 16], { device: "cpu" }],
  "PackedTernary.fromWeights": () => [floats(64), [4, 16], { method: "absmax", groupSize: 8 }],
  "PackedTernary.fromPackedBytes": () => [new Uint8Array(16), floats(4), [4, 16]],
  "PackedTernary#matmul": () => [floats(32), { activations: "int8", bias: floats(4) }],
  "QuantizationResult.fromWeights": () => [floats(64), [4, 16], { method: "twn" }],
  "BitLinear.fromWeights": () => [floats(64), [4, 16], { bias: floats(4), normWeight: floats(16) }],
  "BitLinear.fromPacked": () => [packed(), { bias: floats(4), epsilon: 1e-5 }],
  "BitLinear#forward": () => [floats(32), { out: new Float32Array(8) }],
  TernaryLayer: () => [tensor([4, 16]), [4, 16], { bias: floats(4), device: "cpu" }],
  "TernaryLayer.fromWeights": () => [floats(64), [4, 16], floats(4), { device: "cpu" }],
  "TernaryLayer#forward": () => [floats(32), { out: new Float32Array(8) }],
  InferenceEngine: () => [{ device: "cpu", maxBatchSize: 4 }],
  "InferenceEngine#linear": () => [tensor([2, 16]), tensor([4, 16]), floats(4)],
  "InferenceEngine#ternaryLinear": () => [tensor([2, 16]), packed(), floats(4)],
  "InferenceEngine#batchedForward": () => [tensor([4, 16]), (rows: unknown) => rows],
  "InferenceEngine#softmax": () => [tensor([4, 16]), 1],
  "InferenceEngine#layerNorm": () => [tensor([4, 16]), floats(16), floats(16), 1e-5],
  "InferenceEngine#rmsNorm": () => [tensor([4, 16]), floats(16), 1e-5],
  KVCache: () => [{ layers: 2, kvHeads: 2, headDim: 4, maxTokens: 8, policy: "slide" }],
  "KVCache#append": () => [floats(16), floats(16), 0],
  "KVCache#update": () => [floats(16), floats(16), 1],
  "KVCache#read": () => [0],
  "KVCache#truncate": () => [0],
  loadModel: () => [modelFolder, { device: "cpu", threads: 1 }],
  "Safetensors.open": () => [`${modelFolder}model.safetensors`],
  "Safetensors#read": () => ["model.norm.weight"],
  "Safetensors#readFloat32": () => ["model.norm.weight", 0, 2],
  "TernaryModel#forward": () => [[1, 2, 3], { logits: "last" }],
  "TernaryModel#generate":
    () => ["a", { maxTokens: 2, temperature: 1, topK: 4, topP: 0.9, seed: 1 }],
  "TernaryModel#nll": () => [[1, 2, 3]],
  "TernaryModel#createCache": () => [{ maxTokens: 8, policy: "error" }],
  "Tokenizer.load": () => [modelFolder],
  "Tokenizer#encode": () => ["a text", { addSpecialTokens: true }],
  "Tokenizer#decode": () => [[1, 2, 3], { skipSpecialTokens: true }],
  "StreamDecoder#push": () => [1],
  "Trit.is": () => [1],
  "Trit.from": () => [1],
  "Trit.negate": () => [1],
  "Trit.multiply": () => [1, -1],
  "Trit.addWithCarry": () => [1, -1],
  "Trit.addModulo3": () => [1, -1],
  "Trit.subtractModulo3": () => [1, -1],
  "Trit.toBits": () => [1],
  "Trit.fromBits": () => [1, 0],
  "Trit.format": () => [1],
  "Trit.parse": () => ["+"],
  "TernaryWord#trit": () => [2],
  "TernaryWord#add": () => [api.Tryte3.fromValue(9)],
  "TernaryWord#multiply": () => [api.Tryte3.fromValue(9)],
  "TernaryWord#compare": () => [api.Tryte3.fromValue(9)],
  "TernaryWord#equals": () => [api.Tryte3.fromValue(9)],
  "Tryte3.fromValue": () => [5],
  "Tryte3.fromTrits": () => [trits(3)],
  "Tryte3.fromRaw": () => [21],
  "Word6.fromValue": () => [5],
  "Word6.fromTrits": () => [trits(6)],
  "Word6.fromRaw": () => [1365],
  "Word6.fromTrytes": () => [api.Tryte3.fromValue(5), api.Tryte3.fromValue(-5)],
  toBalancedTernary: () => [10n ** 40n, 100],
  fromBalancedTernary: () => [trits(64)],
  addTernary: () => [trits(64), trits(16)],
  multiplyTernary: () => [trits(64), trits(16)],
  negateTernary: () => [trits(64)],
  compareTernary: () => [trits(64), trits(16)],
  ...CONSTRUCTED,
  ...VSA_VALID,
  ...VALID_ON_TRAINING,
  ...GRADIENTS_VALID,
  ...LAYERS,
  ...VALID_ON_LAYERS,
  ...VALID_ON_TRAINERS,
  ...DISTRIBUTED_VALID,
};

const tensor = (shape: number[]) =>
  api.Tensor.from(floats(shape.reduce((product, size) => product * size, 1)), shape);

/** One instance of every class that lives longer than a call. */
export const INSTANCES: Record<string, () => unknown> = {
  Tensor: () => tensor([4, 16]),
  PackedTernary: packed,
  QuantizationResult: () => api.quantizeAbsmean(floats(64), [4, 16]),
  BitLinear: () => api.BitLinear.fromWeights(floats(64), [4, 16]),
  TernaryLayer: () => api.TernaryLayer.fromWeights(floats(64), [4, 16]),
  InferenceEngine: () => new api.InferenceEngine(),
  KVCache: () => new api.KVCache({ layers: 2, kvHeads: 2, headDim: 4, maxTokens: 8 }),
  Safetensors: () => api.Safetensors.open(`${modelFolder}model.safetensors`),
  TernaryModel: () => model,
  Tokenizer: () => model.tokenizer,
  StreamDecoder: () => model.tokenizer.stream(),
  TernaryWord: () => api.Tryte3.fromValue(5),
  Tryte3: () => api.Tryte3.fromValue(5),
  Word6: () => api.Word6.fromValue(5),
  ...VSA_INSTANCES,
  ...TRAINING_INSTANCES,
  ...LAYER_INSTANCES,
  ...GRADIENTS_INSTANCES,
  ...TRAINER_INSTANCES,
  ...DISTRIBUTED_INSTANCES,
  TritterTypeError: () => new api.TritterTypeError("invalid_type", "Wrong"),
  TritterRangeError: () => new api.TritterRangeError("invalid_value", "Wrong"),
  TritterRuntimeError: () => new api.TritterRuntimeError("io", "Wrong"),
};
