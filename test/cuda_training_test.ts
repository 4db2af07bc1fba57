/** Models that train on a GPU, against the same models on the CPU. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import {
  AdamW,
  averageGradients,
  clearGradients,
  codecHook,
  CompressedAdam,
  createCodec,
  createCommunicator,
  type CudaTransformer,
  DeterministicPhaseTrainer,
  exportModel,
  globalNorm,
  info,
  loadModel,
  localSteps,
  phaseHook,
  Sgd,
  Tensor,
  TokenDataset,
  type Trainable,
  TrainableTransformer,
  Trainer,
  type TrainerHook,
  type TrainerOptions,
  type TransformerConfig,
} from "../mod.ts";
import { assertNothingLeft, cudaTest } from "./cuda_support.ts";
import { withDirectory } from "./make_model.ts";
import { assertSame, assertThrowsCode } from "./support.ts";
import { toyTokens } from "./toy_model.ts";
import { BITNET, LLAMA, makeModel as makeModelOf, texts } from "./transformer_cases.ts";

type DeviceOptions = TrainerOptions<Tensor<"f32">>;

/** Odd sizes that no tile divides, and more tokens than a tile. */
const ODD: TransformerConfig = {
  vocabSize: 301,
  hiddenSize: 90,
  intermediateSize: 203,
  layers: 2,
  heads: 9,
  kvHeads: 3,
  headDim: 10,
  attentionBias: true,
};
const UNTIED: TransformerConfig = {
  architecture: "LlamaForCausalLM",
  vocabSize: 1000,
  hiddenSize: 128,
  intermediateSize: 352,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 64,
  tieWordEmbeddings: false,
};
const WIDE: TransformerConfig = {
  vocabSize: 4099,
  hiddenSize: 256,
  intermediateSize: 688,
  layers: 2,
  heads: 2,
  mlpBias: true,
};

/** Weights of a size that keeps activations as they are. */
const makeModel = (config: TransformerConfig) =>
  makeModelOf(config, 1.7 / Math.sqrt(config.hiddenSize));

const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));

/** |a - b| / |b|, or over a hundredth of `whole` where b is less than that. */
function relativeError(a: Float32Array, b: Float32Array, whole = 0): number {
  const difference = norm(a.map((value, index) => value - b[index]!));
  return difference === 0 ? 0 : difference / Math.max(norm(b), whole / 100);
}

// Gradients of products have 16 bits, so they are off by less than 2^-17 each, and sums of at most a
// thousand floats in another order by some 2^-24 times a small multiple of what was added up: the
// smallest models agree to 1e-5. Where such a difference takes an activation over the middle between
// two of its 255 values, that one changes by 1/127 of its token's largest, some hundredths of its
// token's usual size, and everything that is rounded behind it is perturbed, too: among a hundred
// thousand activations there are some, which change gradients by a hundredth (measured: up to 0.016).
// A wrong token of 130 would change them by a tenth.
const CASES: [string, TransformerConfig, readonly [number, number], number][] = [
  ["BitNet with grouped queries", BITNET, [2, 7], 1e-4],
  ["Llama with biases", LLAMA, [3, 5], 1e-4],
  ["one token", BITNET, [1, 1], 1e-4],
  ["odd sizes", ODD, [3, 65], 4e-2],
  ["an output layer of its own", UNTIED, [2, 130], 4e-2],
  ["heads of 128", WIDE, [1, 257], 4e-2],
];

for (const [name, config, shape, tolerance] of CASES) {
  cudaTest(`a model has the loss and the gradients of the CPU: ${name}`, () => {
    const { ids, targets } = texts(config.vocabSize, shape, 1);
    const start = makeModel(config);
    clearGradients(start.parameters);
    assertNothingLeft(() => {
      using model = start.to("cuda");
      const scale = 0.5;
      const expected = start.lossAndGradients(ids, targets, shape, { scale });
      const actual = model.lossAndGradients(ids, targets, shape, { scale });
      const error = Math.abs(actual - expected) / expected;
      assert.ok(error < Math.max(1e-5, tolerance / 100), `the loss ${actual} is off by ${error}`);
      assert.equal(model.loss(ids, targets, shape), actual);
      const whole = globalNorm(start.parameters.map(({ gradient }) => gradient));
      for (const [index, parameter] of model.parameters.entries()) {
        const { gradient } = start.parameters[index]!;
        const off = relativeError(parameter.gradient.data(), gradient, whole);
        assert.ok(off < tolerance, `the gradient of ${parameter.name} is off by ${off}`);
      }
    });
  });
}

cudaTest("gradients add up, and shorter and longer texts may be in between", () => {
  using model = makeModel(ODD).to("cuda");
  const { ids, targets } = texts(301, [2, 40], 3);
  model.lossAndGradients(ids, targets, [2, 40]);
  const once = model.parameters.map(({ gradient }) => gradient.data());
  for (const [batch, length] of [[1, 3], [4, 77]] as const) {
    const other = texts(301, [batch, length], 4);
    model.loss(other.ids, other.targets, [batch, length]);
  }
  model.lossAndGradients(ids, targets, [2, 40]);
  model.parameters.forEach(({ name, gradient }, index) => {
    const twice = once[index]!.map((value) => 2 * value);
    // The same terms, but some of them join the sum one by one.
    const off = relativeError(gradient.data(), twice);
    assert.ok(off < 1e-5, `the gradient of ${name} is off by ${off}`);
  });
});

cudaTest("a gradient is complete when onGradient says so, once for each parameter", () => {
  for (const config of [BITNET, LLAMA]) {
    using model = makeModel(config).to("cuda");
    const { ids, targets } = texts(config.vocabSize, [2, 6], 7);
    const seen = new Map<string, Float32Array>();
    model.lossAndGradients(ids, targets, [2, 6], {
      onGradient({ name, gradient }) {
        assert.ok(!seen.has(name), `${name} came twice`);
        seen.set(name, gradient.data());
      },
    });
    assert.equal(seen.size, model.parameters.length);
    for (const { name, gradient } of model.parameters) {
      assertSame(seen.get(name)!, gradient.data(), name);
    }
  }
});

const VOCAB = 40;
const SMALL: TransformerConfig = {
  vocabSize: VOCAB,
  hiddenSize: 48,
  intermediateSize: 100,
  layers: 2,
  heads: 4,
  kvHeads: 2,
};
const data = TokenDataset.fromTokens(toyTokens(4000, VOCAB, 1), 24);
const validation = TokenDataset.fromTokens(toyTokens(600, VOCAB, 2), 24, { shift: false });

const SETTINGS = {
  data,
  validation,
  learningRate: 3e-3,
  steps: 20,
  batchSize: 3,
  accumulation: 2,
  seed: 7,
} as const;

const newModel = () => new TrainableTransformer(SMALL, { seed: 3 });
const valuesOf = (model: CudaTransformer) => model.parameters.map(({ data }) => data.data());
const lossesOf = (trainer: Trainer<Tensor<"f32">>) => trainer.losses.map(([, loss]) => loss);

/** Trains on the GPU; returns all losses and the parameters. */
async function trainOnDevice(more: Partial<DeviceOptions> = {}) {
  using model = newModel().to("cuda");
  using optimizer = new AdamW();
  const trainer = new Trainer({ ...SETTINGS, optimizer, ...more, model });
  const { validationLoss } = await trainer.train();
  return { losses: lossesOf(trainer), validationLoss: validationLoss!, values: valuesOf(model) };
}

const OPTIMIZERS: [string, number, () => AdamW | Sgd][] = [
  ["AdamW", 3e-3, () => new AdamW({ weightDecay: 0.1 })],
  ["Sgd", 0.05, () => new Sgd({ momentum: 0.9, nesterov: true })],
];

for (const [name, learningRate, make] of OPTIMIZERS) {
  cudaTest(`a trainer has the losses of the CPU: ${name}`, async () => {
    const settings = { ...SETTINGS, learningRate };
    const onCpu = new Trainer({ ...settings, optimizer: make(), model: newModel() });
    const { validationLoss } = await onCpu.train();
    using optimizer = make();
    const device = await trainOnDevice({ optimizer, learningRate });
    const expected = onCpu.losses.map(([, loss]) => loss);
    assert.equal(device.losses.length, 20);
    for (const [step, loss] of device.losses.entries()) {
      const off = Math.abs(loss - expected[step]!);
      // The first steps differ by rounding. Adam makes a whole step of the smallest gradients, whose
      // sign may be another one, and trits and activations between two values take the other one, so
      // that the losses of two batches differ as much as those of two runs would (measured: 0.04).
      const tolerance = step < 3 ? 1e-3 : 0.1;
      assert.ok(off < tolerance, `loss ${step}: ${loss} is off by ${off}`);
    }
    assert.ok(Math.abs(device.validationLoss - validationLoss!) < 0.1);
    assert.ok(device.losses.at(-1)! < device.losses[0]! - 0.25, `${device.losses}`);
  });
}

cudaTest("the same run has the same bits", async () => {
  const [a, b] = [await trainOnDevice(), await trainOnDevice()];
  assert.deepEqual(a.losses, b.losses);
  assert.equal(a.validationLoss, b.validationLoss);
  a.values.forEach((values, index) => assertSame(values, b.values[index]!));
});

cudaTest("what memory held before does not matter", () => {
  const { ids, targets } = texts(301, [2, 70], 3);
  const run = () => {
    using model = makeModel(ODD).to("cuda");
    const loss = model.lossAndGradients(ids, targets, [2, 70]);
    return [Float32Array.of(loss), ...model.parameters.map(({ gradient }) => gradient.data())];
  };
  const before = run();
  const nothing = [2 ** 24, 2 ** 22, 2 ** 20, 2 ** 18, 2 ** 16, 2 ** 14].flatMap((length) =>
    Array.from(
      { length: 6 },
      () => Tensor.from(new Float32Array(length).fill(NaN), [length], { device: "cuda" }),
    )
  );
  for (const tensor of nothing) tensor[Symbol.dispose]();
  run().forEach((values, index) => assertSame(values, before[index]!));
});

cudaTest("loss scaling by powers of two changes no bit", async () => {
  const plain = await trainOnDevice({ clipNorm: 0 });
  const scaled = await trainOnDevice({ clipNorm: 0, lossScaling: { initialScale: 1024 } });
  assert.deepEqual(scaled.losses, plain.losses);
  scaled.values.forEach((values, index) => assertSame(values, plain.values[index]!));
});

cudaTest("a run that goes on from a checkpoint has the same bits", async () => {
  await withDirectory(async (checkpointDirectory) => {
    const whole = await trainOnDevice();
    const half = { checkpointDirectory, checkpointEvery: 5, keepCheckpoints: 9 };
    await trainOnDevice({ ...half, steps: 10 });
    const rest = await trainOnDevice({ ...half, resume: true });
    assert.deepEqual(rest.losses, whole.losses);
    rest.values.forEach((values, index) => assertSame(values, whole.values[index]!));
    // The CPU can go on with it, too.
    const onCpu = new Trainer({
      ...SETTINGS,
      model: newModel(),
      steps: 21,
      checkpointDirectory,
      resume: true,
    });
    assert.equal(onCpu.step, 20);
    assert.ok((await onCpu.train()).loss < whole.losses[0]!);
  });
});

cudaTest("training leaves nothing on the device", async () => {
  const before = info();
  await trainOnDevice();
  const after = info();
  assert.equal(after.handles, before.handles, "handles");
  assert.equal(after.cuda?.allocatedBytes, before.cuda?.allocatedBytes, "device memory");
});

cudaTest("a model comes back from the device, and is exported from there", async () => {
  const start = makeModel({ ...WIDE, mlpBias: false, vocabSize: 100 });
  using model = start.to("cuda");
  assert.equal(model.device, "cuda:0");
  assert.equal(model.to("cuda"), model);
  assert.equal(model.parameterCount, start.parameterCount);
  const back = model.to("cpu");
  assert.deepEqual(back.config, start.config);
  back.parameters.forEach(({ name, data }, index) => {
    assert.equal(name, start.parameters[index]!.name);
    assertSame(data as Float32Array, start.parameters[index]!.data as Float32Array, name);
  });
  const other = new TrainableTransformer(model.config, { seed: 9 });
  const tensors = new Map(other.parameters.map(({ name, data }) => [name, data]));
  model.loadTensors((name) => tensors.get(name)!);
  const { ids, targets } = texts(100, [1, 30], 8);
  const shifted = Int32Array.from(ids, (_, index) => ids[index + 1] ?? -100);
  const loss = model.loss(ids, shifted, [1, 30]);
  // Two ways to the same sums; an activation may round otherwise.
  assert.ok(Math.abs(loss - other.loss(ids, shifted, [1, 30])) < 1e-3);
  await withDirectory(async (directory) => {
    const folder = join(directory, "model");
    mkdirSync(folder);
    exportModel(model, folder);
    using loaded = await loadModel(folder, { tokenizer: false });
    assert.ok(Math.abs(loaded.nll([...ids]) - loss) < 1e-3);
  });
  assertThrowsCode(() => model.loadTensors(() => new Float32Array(3)), "invalid_length");
  assert.ok(model.memoryBytes > 8 * model.parameterCount);
  assert.ok(model.memoryBytes <= info().cuda!.allocatedBytes);
  assert.equal(model.loss(ids, shifted, [1, 30]), loss);
  assert.equal(targets.length, 30);
});

cudaTest("what does not fit is refused, and the model stays as it is", () => {
  const start = makeModel(BITNET);
  using model = start.to("cuda");
  const { ids, targets } = texts(23, [2, 7], 1);
  const before = model.loss(ids, targets, [2, 7]);
  const outside = ids.slice();
  outside[9] = 23;
  assertThrowsCode(
    () => model.lossAndGradients(outside, targets, [2, 7]),
    "invalid_value",
    /ids must be from 0 to 22, got 23 at index 9/,
  );
  assertThrowsCode(
    () => model.lossAndGradients(ids, outside.map((id) => id === 23 ? -1 : id), [2, 7]),
    "invalid_value",
    /targets must be from 0 to 22, got -1 at index 9/,
  );
  assertThrowsCode(() => model.loss(ids, targets, [2, 8]), "invalid_length");
  assertThrowsCode(() => model.loss(ids, targets, [1, 1e6]), "invalid_value");
  for (const { gradient } of model.parameters) {
    assert.ok(gradient.data().every((value) => value === 0));
  }
  assert.equal(model.loss(ids, targets, [2, 7]), before);
  // A batch in which nothing counts has no loss and no gradients.
  assert.equal(model.lossAndGradients(ids, new Int32Array(14).fill(-100), [2, 7]), 0);
  for (const { gradient } of model.parameters) {
    assert.ok(gradient.data().every((value) => value === 0));
  }
  const half = new TrainableTransformer(BITNET, { latent: "bf16" });
  assertThrowsCode(() => half.to("cuda"), "unsupported", /bfloat16/);
  const wide = new TrainableTransformer({ ...LLAMA, headDim: 258 });
  assertThrowsCode(() => wide.to("cuda"), "unsupported", /at most 256/);
  model[Symbol.dispose]();
  model[Symbol.dispose]();
  assertThrowsCode(() => model.loss(ids, targets, [2, 7]), "disposed");
});

cudaTest("weights that are not finite any more are found by the loss", () => {
  using model = makeModel(BITNET).to("cuda");
  const { ids, targets } = texts(23, [2, 7], 1);
  for (const name of ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"]) {
    model.loadTensors((wanted) => {
      const { shape } = model.parameters.find((parameter) => parameter.name === wanted)!;
      const values = new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(0.1);
      return wanted === name ? values.fill(NaN, 0, 1) : values;
    });
    assertThrowsCode(() => model.loss(ids, targets, [2, 7]), "invalid_value", /finite/);
  }
});

cudaTest("hooks that only know arrays are refused before the first step", async () => {
  using communicator = createCommunicator({ backend: "local" });
  const sizes = newModel().parameters.map(({ data }) => data.length);
  const hooks: [string, TrainerHook][] = [
    ["codecHook", codecHook(createCodec("sign"))],
    ["phaseHook", phaseHook(new DeterministicPhaseTrainer(sizes))],
    ["localSteps", localSteps(communicator, { every: 1 })],
    ["CompressedAdam", new CompressedAdam(communicator, { warmupSteps: 1 }).exchange],
    ["a codec", averageGradients(communicator, { codec: createCodec("sign") })],
    ["balance", averageGradients(communicator, { balance: true })],
  ];
  for (const [name, hook] of hooks) {
    using model = newModel().to("cuda");
    const before = valuesOf(model);
    const options = { ...SETTINGS, model, hooks: [hook as TrainerHook<never>] };
    await assert.rejects(new Trainer(options as DeviceOptions).train(), (error: Error) => {
      assertThrowsCode(
        () => {
          throw error;
        },
        "unsupported",
        new RegExp(name),
      );
      return true;
    });
    valuesOf(model).forEach((values, index) => assertSame(values, before[index]!));
  }
});

cudaTest("any code can train a model on the device", () => {
  const model: Trainable<Tensor<"f32">> & Disposable = newModel().to("cuda");
  using _owned = model;
  using optimizer = new AdamW({ weightDecay: 0 });
  const { ids, targets } = texts(VOCAB, [2, 8], 5);
  const first = model.loss(ids, targets, [2, 8]);
  for (let step = 0; step < 60; step++) {
    clearGradients(model.parameters);
    model.lossAndGradients(ids, targets, [2, 8]);
    optimizer.step(model.parameters, 2e-3);
  }
  assert.ok(model.loss(ids, targets, [2, 8]) < first);
});
