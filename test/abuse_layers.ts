// The same for layers, optimisers and models that train.

import * as api from "../mod.ts";

const floats = (length: number) => Float32Array.from({ length }, (_, at) => Math.sin(at + 1));

type Calls = Record<string, () => unknown[]>;

const SIZES = { vocabSize: 9, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2 };

/** Made with `new` by anybody, and the arguments for it. */
export const LAYERS: Calls = {
  ActivationGate: () => ["silu"],
  AdamW: () => [{ beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1 }],
  CausalAttention: () => [{ heads: 2, kvHeads: 1, headDim: 4 }],
  CrossEntropyHead: () => [new api.TrainableEmbedding(8, 4).weight],
  QuantizedTokens: () => [16],
  RotaryEmbedding: () => [4, { frequencies: floats(2), theta: 100 }],
  Sgd: () => [{ momentum: 0.5, nesterov: true, weightDecay: 0.1 }],
  TrainableBitLinear: () => [16, 4, { name: "a", bias: true }],
  TrainableEmbedding: () => [8, 4, { name: "a" }],
  TrainableRmsNorm: () => [16, { name: "a", epsilon: 1e-5 }],
  TrainableTransformer: () => [{ ...SIZES, kvHeads: 1, activation: "relu2" }, { seed: 1 }],
};

export const VALID_ON_LAYERS: Calls = {
  denseMatmul: () => [floats(6), floats(12), [2, 4, 3], { alpha: 2, beta: 1, out: floats(8) }],
  learningRateSchedule:
    () => [{ learningRate: 1, schedule: "cosine", steps: 100, warmupSteps: 10 }],
  "ActivationGate#forward": () => [floats(16), floats(16), { out: floats(16) }],
  "ActivationGate#backward": () => [floats(16), { inPlace: true }],
  "AdamW#step": () => [new api.TrainableBitLinear(4, 2).parameters, 0.1],
  "AdamW#loadState": () => [{ steps: Float32Array.of(1, 0), "mean.a": floats(4) }],
  "CausalAttention#forward": () => [floats(48), floats(24), floats(24), [2, 3]],
  "CausalAttention#backward": () => [floats(48)],
  "CrossEntropyHead#loss": () => [floats(8), Int32Array.of(1, -100)],
  "CrossEntropyHead#lossAndGradient":
    () => [floats(8), Int32Array.of(1, 7), { scale: 2, out: floats(8) }],
  "CudaTransformer#loss": () => [Int32Array.of(1, 2), Int32Array.of(2, 3), [1, 2]],
  "CudaTransformer#lossAndGradients":
    () => [Int32Array.of(1, 2), Int32Array.of(2, 3), [1, 2], { scale: 2 }],
  "CudaTransformer#to": () => ["cpu"],
  "QuantizedTokens#quantize": () => [floats(32)],
  "RotaryEmbedding#forward": () => [floats(48), 3, { heads: 2 }],
  "RotaryEmbedding#backward": () => [floats(48), 3, { heads: 2 }],
  "Sgd#step": () => [new api.TrainableBitLinear(4, 2).parameters, 0.1],
  "Sgd#loadState": () => [{ steps: Float32Array.of(1, 0), "velocity.a": floats(4) }],
  "TrainableBitLinear#forward": () => [floats(32), { out: floats(8) }],
  "TrainableBitLinear#backward": () => [floats(8), { out: floats(32), accumulate: true }],
  "TrainableEmbedding#forward": () => [Int32Array.of(1, 7), { out: floats(8) }],
  "TrainableEmbedding#backward": () => [floats(8)],
  "TrainableRmsNorm#forward": () => [floats(32), { out: floats(32) }],
  "TrainableRmsNorm#backward": () => [floats(32), { out: floats(32), accumulate: true }],
  "TrainableTransformer#loss": () => [Int32Array.of(1, 2), Int32Array.of(2, 3), [1, 2]],
  "TrainableTransformer#lossAndGradients":
    () => [Int32Array.of(1, 2), Int32Array.of(2, 3), [1, 2], { scale: 2, onGradient: () => {} }],
  "TrainableTransformer#to": () => ["cpu"],
  "TrainableTransformer#loadTensors": () => {
    const { parameters } = new api.TrainableTransformer(SIZES);
    return [(name: string) => parameters.find((parameter) => parameter.name === name)!.data];
  },
};

/** Layers that have been forward once, so that the way back is open. */
export const LAYER_INSTANCES: Record<string, () => unknown> = {
  ActivationGate: () => {
    const layer = new api.ActivationGate("relu2");
    layer.forward(floats(16), floats(16));
    return layer;
  },
  AdamW: () => new api.AdamW(),
  CausalAttention: () => {
    const layer = new api.CausalAttention({ heads: 2, kvHeads: 1, headDim: 4 });
    layer.forward(floats(48), floats(24), floats(24), [2, 3]);
    return layer;
  },
  ...(api.cudaAvailable()
    ? { CudaTransformer: () => new api.TrainableTransformer(SIZES).to("cuda") }
    : {}),
  CrossEntropyHead: () => new api.CrossEntropyHead(new api.TrainableEmbedding(8, 4).weight),
  QuantizedTokens: () => new api.QuantizedTokens(16),
  RotaryEmbedding: () => new api.RotaryEmbedding(8),
  Sgd: () => new api.Sgd({ momentum: 0.5 }),
  TrainableBitLinear: () => {
    const layer = new api.TrainableBitLinear(16, 4, { bias: true });
    layer.forward(floats(32));
    return layer;
  },
  TrainableEmbedding: () => {
    const layer = new api.TrainableEmbedding(8, 4);
    layer.forward(Int32Array.of(1, 7));
    return layer;
  },
  TrainableRmsNorm: () => {
    const layer = new api.TrainableRmsNorm(16);
    layer.forward(floats(32));
    return layer;
  },
  TrainableTransformer: () => new api.TrainableTransformer(SIZES),
};
