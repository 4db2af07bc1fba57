/** Latent weights in bfloat16: layers, rounding at random, and a run that is resumed and exported. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  AdamW,
  exportModel,
  fromBf16,
  getThreads,
  loadModel,
  type Optimizer,
  type Parameter,
  Safetensors,
  setThreads,
  Sgd,
  toBf16,
  TokenDataset,
  TrainableBitLinear,
  TrainableTransformer,
  Trainer,
  type TrainerOptions,
} from "../mod.ts";
import { withDirectory } from "./make_model.ts";
import { assertSame, assertThrowsCode, onEveryTier, randomFloats, wrong } from "./support.ts";
import { philox } from "./vsa_reference.ts";

const SIZES = [1, 3, 31, 33, 1000, 65_537] as const;

function parameter(data: Uint16Array, decay = true): Parameter<Uint16Array> {
  const gradient = randomFloats(data.length, 7);
  return { name: "p", shape: [data.length], data, gradient, decay, quantized: true };
}

/** The words of f32 values, rounded as the row says. */
function roundAtRandom(values: Float32Array, row: bigint, seed: bigint): Uint16Array {
  const [low, high] = [Number(row & 0xffff_ffffn), Number(row >> 32n)];
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let words: readonly number[] = [];
  return Uint16Array.from(bits, (pattern, i) => {
    if (i % 4 === 0) words = philox([i / 4, low, high, 17], seed);
    return (pattern + (words[i % 4]! & 0xffff)) / 2 ** 16;
  });
}

describe("a layer with latent weights in bfloat16", () => {
  it("computes what one of 32 bits computes with the same weights", () => {
    for (const [rows, columns, tokens] of [[1, 1, 1], [3, 31, 2], [33, 65, 3], [300, 257, 2]]) {
      const words = toBf16(randomFloats(rows! * columns!, 1));
      const input = randomFloats(tokens! * columns!, 2);
      const gradient = randomFloats(tokens! * rows!, 3);
      onEveryTier((tier) => {
        const half = new TrainableBitLinear(columns!, rows!, { latent: "bf16", bias: true });
        const full = new TrainableBitLinear(columns!, rows!, { bias: true });
        half.weight.data.set(words);
        full.weight.data.set(fromBf16(words));
        const results = [half, full].map((layer) => [
          layer.forward(input).slice(),
          layer.backward(gradient).slice(),
          layer.weight.gradient,
          layer.bias!.gradient,
        ]);
        results[0]!.forEach((result, i) => assertSame(result, results[1]![i]!, `${tier}, ${i}`));
      });
    }
  });

  it("refuses weights that are not finite, and other types", () => {
    const layer = new TrainableBitLinear(4, 2, { latent: "bf16" });
    assert.equal(layer.weight.data.BYTES_PER_ELEMENT, 2);
    for (const word of [0x7f80, 0xff80, 0x7fc0]) {
      layer.weight.data.fill(0x3f80)[5] = word;
      assertThrowsCode(() => layer.forward(new Float32Array(4)), "invalid_value", /index 5$/);
    }
    assertThrowsCode(
      () => new TrainableBitLinear(4, 2, { latent: wrong("f16") }),
      "invalid_option",
      /latent/,
    );
  });
});

describe("steps on parameters in bfloat16", () => {
  it("are those in 32 bits, rounded by seed, step and place", () => {
    const make: readonly ((seed: number) => Optimizer)[] = [
      (seed) => new AdamW({ seed, weightDecay: 0.1 }),
      (seed) => new Sgd({ seed, momentum: 0.9, nesterov: true }),
      (seed) => new Sgd({ seed, weightDecay: 0.1 }),
    ];
    for (const size of SIZES) {
      for (const [which, optimizer] of make.entries()) {
        const start = toBf16(randomFloats(size, 1));
        const full = { ...parameter(start), data: fromBf16(start) };
        optimizer(5).step([full], 0.01);
        // Step 1, and FNV-1a of the parameter's name.
        const name = Math.imul(0x811c_9dc5 ^ "p".charCodeAt(0), 0x0100_0193) >>> 0;
        const expected = roundAtRandom(full.data, 1n << 32n | BigInt(name), 5n);
        onEveryTier((tier) => {
          const half = parameter(start.slice());
          optimizer(5).step([half], 0.01);
          assertSame(half.data, expected, `${which}, ${size}, ${tier}`);
        });
      }
    }
  });

  it("draw anew for every step, parameter and seed, whatever the threads", () => {
    const run = (seed: number) => {
      const optimizer = new Sgd({ seed });
      const parameters = ["p", "q"].map((name) => ({
        ...parameter(new Uint16Array(100_000).fill(0x3f80), false),
        name,
      }));
      for (const { gradient } of parameters) gradient.fill(2 ** -9);
      const after = [1, 2].map(() => {
        for (const { data } of parameters) data.fill(0x3f80);
        optimizer.step(parameters, 1);
        return parameters.map(({ data }) => data.slice());
      });
      return after.flat();
    };
    const threads = getThreads();
    setThreads(1);
    const all = [...run(0), ...run(1)];
    setThreads(3);
    assert.deepEqual([...run(0), ...run(1)], all);
    setThreads(threads);
    for (const [i, a] of all.entries()) {
      for (const b of all.slice(0, i)) {
        // Each is one of two values, so that independent ones agree in half of the places.
        const same = a.reduce((sum, word, place) => sum + Number(word === b[place]), 0);
        assert.ok(Math.abs(same - 50_000) < 5 * 158, `${same} of 100,000 are the same`);
      }
    }
  });

  it("are right in the mean where nearest rounding would change nothing", () => {
    const half = parameter(new Uint16Array(100_000).fill(0x3f80), false);
    const optimizer = new Sgd();
    // A step of bfloat16 below 1 is 2^-8.
    half.gradient.fill(2 ** -12);
    for (let step = 0; step < 64; step++) optimizer.step([half], 1);
    const mean = fromBf16(half.data).reduce((sum, value) => sum + value, 0) / half.data.length;
    // The variance of a step is below 2^-8 2^-12; five standard errors.
    assert.ok(Math.abs(mean - (1 - 2 ** -6)) < 5 * Math.sqrt(64 * 2 ** -20 / 1e5), `${mean}`);
  });

  it("keep what is not finite", () => {
    const half = parameter(Uint16Array.of(0x7f80, 0xff80, 0x7fc1), false);
    half.gradient.fill(0);
    new Sgd().step([half], 1);
    assertSame(half.data, Uint16Array.of(0x7f80, 0xff80, 0x7fc1));
    half.data.fill(0x3f80);
    half.gradient.fill(NaN);
    new Sgd().step([half], 1);
    assert.ok(fromBf16(half.data).every(Number.isNaN));
  });
});

const CONFIG = { vocabSize: 32, hiddenSize: 32, intermediateSize: 64, layers: 2, heads: 4 };
/** Tokens that follow each other in a few ways. */
const tokens = Int32Array.from(
  randomFloats(4000, 3),
  (value, index) => (index % 2 ? 3 * (index % 11) : Math.floor(2 * (value + 1))) % 32,
);

function optionsFor(model: TrainableTransformer, more: Partial<TrainerOptions>): TrainerOptions {
  const data = TokenDataset.fromTokens(tokens, 32);
  return { model, data, steps: 60, batchSize: 4, learningRate: 3e-3, seed: 1, ...more };
}

const modelOf = (latent: "f32" | "bf16") => new TrainableTransformer(CONFIG, { seed: 2, latent });

describe("a model with latent weights in bfloat16", () => {
  it("learns as well, and what it exports computes the same", () =>
    withDirectory(async (directory) => {
      const [full, half] = [modelOf("f32"), modelOf("bf16")];
      const types = half.parameters.map(({ data, quantized }) =>
        data instanceof Uint16Array === quantized
      );
      assert.ok(types.every(Boolean));
      const losses: number[] = [];
      for (const model of [full, half]) {
        const first = model.loss(tokens.subarray(0, 64), tokens.subarray(1, 65), [1, 64]);
        const { loss } = await new Trainer(optionsFor(model, {})).train();
        assert.ok(loss < 0.7 * first, `${first} became ${loss}`);
        losses.push(loss);
      }
      assert.ok(Math.abs(losses[0]! - losses[1]!) < 0.05 * losses[0]!, losses.join());

      exportModel(half, join(directory, "packed"));
      using loaded = await loadModel(join(directory, "packed"));
      const ids = tokens.subarray(0, 33);
      const mean = loaded.nll(Array.from(ids));
      const trained = half.loss(ids.slice(0, 32), ids.slice(1), [1, 32]);
      assert.ok(Math.abs(mean - trained) < 1e-4 * trained, `${mean}, ${trained}`);

      exportModel(half, join(directory, "unpacked"), { form: "unpacked", dtype: "bf16" });
      using file = Safetensors.open(join(directory, "unpacked", "model.safetensors"));
      const { name, data } = half.parameters.find(({ quantized }) => quantized)!;
      assertSame(file.readFloat32(name), fromBf16(data as Uint16Array));
    }));

  it("goes on from a checkpoint bit by bit, and only with the same type", () =>
    withDirectory(async (directory) => {
      const whole = modelOf("bf16");
      await new Trainer(optionsFor(whole, {})).train();
      const first = new AbortController();
      const run = { checkpointDirectory: directory, checkpointEvery: 10 };
      const stop = {
        name: "stop",
        afterStep: ({ step }: { step: number }) => step === 33 && first.abort(),
      };
      await new Trainer(
        optionsFor(modelOf("bf16"), { ...run, hooks: [wrong(stop)], signal: first.signal }),
      ).train();
      const rest = modelOf("bf16");
      const same = { name: "stop" };
      await new Trainer(optionsFor(rest, { ...run, hooks: [same], resume: true })).train();
      whole.parameters.forEach(({ name, data }, i) =>
        assertSame(rest.parameters[i]!.data, data, name)
      );
      const options = optionsFor(modelOf("f32"), { ...run, hooks: [same], resume: true });
      assertThrowsCode(() => new Trainer(options), "invalid_format", /must be F32 .*got BF16/);
    }));

  it("takes tensors of either type over", () => {
    const [full, half] = [modelOf("f32"), modelOf("bf16")];
    const tensors = new Map(full.parameters.map(({ name, data }) => [name, data]));
    half.loadTensors((name) => tensors.get(name)!);
    const again = modelOf("bf16");
    const words = new Map(half.parameters.map(({ name, data }) => [name, data]));
    again.loadTensors((name) => words.get(name)!);
    half.parameters.forEach(({ data }, i) => {
      assertSame(again.parameters[i]!.data, data);
      const float = full.parameters[i]!.data as Float32Array;
      assertSame(data, data instanceof Uint16Array ? toBf16(float) : float);
    });
  });
});
