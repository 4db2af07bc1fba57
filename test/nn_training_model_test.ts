// A whole model that trains, against the same model on a tape and against the model for inference.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { AdamW, clearGradients, loadModel, TrainableTransformer } from "../mod.ts";
import { Tape } from "./gradient_tape.ts";
import { safetensorsBytes, withDirectory } from "./make_model.ts";
import { assertNear, assertSame, assertThrowsCode, onEveryTier, wrong } from "./support.ts";
import { modelLoss } from "./training_reference.ts";
import { BITNET, LLAMA, makeModel, texts } from "./transformer_cases.ts";

describe("a model that trains", () => {
  for (const config of [BITNET, LLAMA]) {
    it(`has the loss and the gradients of a tape: ${config.architecture ?? "BitNet"}`, () => {
      const model = makeModel(config);
      const shape = [2, 7] as const;
      const { ids, targets } = texts(config.vocabSize, shape, 1);
      const tape = new Tape();
      const nodes = new Map(model.parameters.map(({ name, data }) => [name, tape.inputs(data)]));
      const loss = modelLoss(tape, model.config, nodes, ids, targets, shape);
      const gradients = tape.gradientsOf(loss);
      onEveryTier((label) => {
        clearGradients(model.parameters);
        const scale = 3;
        const actual = model.lossAndGradients(ids, targets, shape, { scale });
        assert.ok(Math.abs(actual - tape.at(loss)) < 2e-6 * tape.at(loss), `${label}: ${actual}`);
        assert.equal(model.loss(ids, targets, shape), actual);
        for (const { name, gradient } of model.parameters) {
          const expected = gradients(nodes.get(name)!);
          const largest = Math.max(...expected.map(Math.abs));
          expected.forEach((value, i) => {
            // A few hundred roundings of 2^-24 each, of terms as large as the largest gradient.
            const error = Math.abs(gradient[i]! / scale - value);
            assert.ok(error < 2e-5 * largest, `${label}: ${name}[${i}] is off by ${error}`);
          });
        }
      });
    });
  }

  it("has the same bits with any number of threads", () => {
    const model = makeModel({ ...BITNET, hiddenSize: 96, intermediateSize: 200, vocabSize: 300 });
    const shape = [3, 65] as const;
    const { ids, targets } = texts(300, shape, 2);
    const byTier = new Map<string, Float32Array[]>();
    const losses = new Set<number>();
    onEveryTier((label) => {
      clearGradients(model.parameters);
      const tier = label.split(",")[0]!;
      losses.add(model.lossAndGradients(ids, targets, shape));
      const first = byTier.get(tier) ?? model.parameters.map(({ gradient }) => gradient.slice());
      byTier.set(tier, first);
      model.parameters.forEach(({ name, gradient }, i) => {
        assertSame(gradient, first[i]!, `${label}: ${name}`);
      });
    });
    const [one] = losses;
    for (const loss of losses) assert.ok(Math.abs(loss - one!) < 1e-6 * one!);
  });

  it("adds gradients up, and is the same for other texts in between", () => {
    const model = makeModel(BITNET);
    const { ids, targets } = texts(23, [2, 6], 3);
    model.lossAndGradients(ids, targets, [2, 6]);
    const once = model.parameters.map(({ gradient }) => gradient.slice());
    const longer = texts(23, [1, 19], 4);
    model.loss(longer.ids, longer.targets, [1, 19]);
    model.lossAndGradients(ids, targets, [2, 6]);
    model.parameters.forEach(({ name, gradient }, i) => {
      const largest = once[i]!.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      assertNear(gradient, once[i]!.map((value) => 2 * value), 1e-6 * largest, name);
    });
  });

  it("tells of every gradient once, when it is final, those of the last layers first", () => {
    for (const config of [BITNET, LLAMA, { ...BITNET, layers: 3, attentionBias: true }]) {
      const model = makeModel(config);
      const { ids, targets } = texts(config.vocabSize, [2, 7], 8);
      const told = new Map<string, Float32Array>();
      const loss = model.lossAndGradients(ids, targets, [2, 7], {
        onGradient: ({ name, gradient }) => {
          assert.ok(!told.has(name), name);
          told.set(name, gradient.slice());
        },
      });
      const names = [...told.keys()];
      assert.deepEqual([...names].sort(), model.parameters.map(({ name }) => name).sort());
      for (const { name, gradient } of model.parameters) {
        assertSame(told.get(name)!, gradient, name);
        assert.ok(gradient.some((value) => value !== 0), name);
      }
      const layerOf = (name: string) => Number(/layers\.(\d+)/.exec(name)?.[1] ?? NaN);
      const layers = names.map(layerOf).filter((layer) => layer >= 0);
      assert.deepEqual(layers, [...layers].sort((a, b) => b - a));
      assert.equal(names.at(-1), "model.embed_tokens.weight");
      const same = makeModel(config);
      assert.equal(same.lossAndGradients(ids, targets, [2, 7]), loss);
    }
    const model = makeModel(BITNET);
    const call = (onGradient: unknown) =>
      model.lossAndGradients(Int32Array.of(1), Int32Array.of(2), [1, 1], wrong({ onGradient }));
    assertThrowsCode(() => call(3), "invalid_type", /onGradient must be a function, got 3/);
    // What the listener throws is the caller's.
    const stop = () => {
      throw new RangeError("enough");
    };
    assert.throws(() => call(stop), { name: "RangeError", message: "enough" });
  });

  it("learns a batch by heart", () => {
    for (const config of [BITNET, LLAMA]) {
      const model = new TrainableTransformer({ ...config, hiddenSize: 48, heads: 4 }, { seed: 1 });
      const { ids, targets } = texts(config.vocabSize, [2, 8], 5);
      const optimizer = new AdamW({ weightDecay: 0 });
      const first = model.loss(ids, targets, [2, 8]);
      assert.ok(Math.abs(first - Math.log(config.vocabSize)) < 0.1, `${first}`);
      for (let step = 0; step < 60; step++) {
        clearGradients(model.parameters);
        model.lossAndGradients(ids, targets, [2, 8]);
        optimizer.step(model.parameters, 5e-3);
      }
      const last = model.loss(ids, targets, [2, 8]);
      assert.ok(last < 0.1, `${config.architecture}: ${first} became ${last}`);
    }
  });

  it("begins as the seed says", () => {
    const [a, b, c] = [1, 1n, 2].map((seed) => new TrainableTransformer(BITNET, { seed }));
    const matrix = (model: TrainableTransformer) => model.parameters[2]!.data;
    assertSame(matrix(a!), matrix(b!));
    assert.notDeepEqual(matrix(a!), matrix(c!));
    assert.notDeepEqual(matrix(a!).slice(0, 9), a!.parameters[5]!.data.slice(0, 9));
    const { parameters } = new TrainableTransformer({ ...BITNET, vocabSize: 20_000 });
    const data = Float64Array.from(parameters[0]!.data);
    const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
    const square = data.reduce((sum, value) => sum + value * value, 0) / data.length;
    const fourth = data.reduce((sum, value) => sum + value ** 4, 0) / data.length;
    // 240,000 normal numbers: five standard errors.
    assert.ok(Math.abs(mean) < 5 * 0.02 / 489, `${mean}`);
    assert.ok(Math.abs(square / 4e-4 - 1) < 5 * Math.SQRT2 / 489, `${square}`);
    assert.ok(Math.abs(fourth / 1.6e-7 - 3) < 5 * Math.sqrt(96) / 489, `${fourth}`);
  });

  it("names what Hugging Face names, and takes it over", () => {
    const model = new TrainableTransformer(BITNET, { seed: 1 });
    const names = model.parameters.map(({ name }) => name);
    assert.ok(names.includes("model.layers.1.mlp.ffn_sub_norm.weight"));
    assert.ok(names.includes("model.layers.0.self_attn.o_proj.weight"));
    assert.equal(new Set(names).size, names.length);
    const quantized = model.parameters.filter((parameter) => parameter.quantized);
    assert.equal(quantized.length, 7 * BITNET.layers);
    const other = new TrainableTransformer(BITNET, { seed: 2 });
    const tensors = new Map(model.parameters.map(({ name, data }) => [name, data]));
    assertThrowsCode(
      () =>
        other.loadTensors((name) =>
          name === "model.norm.weight" ? new Float32Array(3) : tensors.get(name)!
        ),
      "invalid_length",
      /model\.norm/,
    );
    assert.notDeepEqual(other.parameters[0]!.data, model.parameters[0]!.data);
    other.loadTensors((name) => tensors.get(name)!);
    const { ids, targets } = texts(23, [1, 9], 6);
    assert.equal(other.loss(ids, targets, [1, 9]), model.loss(ids, targets, [1, 9]));
  });

  it("refuses what does not fit", () => {
    const model = new TrainableTransformer(BITNET);
    const ids = new Int32Array(6);
    assertThrowsCode(() => model.loss(ids, ids, [2, 2]), "invalid_length");
    assertThrowsCode(() => model.loss(ids, new Int32Array(5), [2, 3]), "invalid_length");
    assertThrowsCode(() => model.loss(ids, ids, [0, 6]), "invalid_value");
    assertThrowsCode(
      () => model.loss(Int32Array.of(23), Int32Array.of(0), [1, 1]),
      "invalid_value",
    );
    assertThrowsCode(
      () => model.loss(Int32Array.of(0), Int32Array.of(23), [1, 1]),
      "invalid_value",
    );
    for (const given of [{ heads: 5 }, { kvHeads: 2 }, { vocabSize: 0 }, { headDim: 3 }]) {
      assertThrowsCode(() => new TrainableTransformer({ ...BITNET, ...given }), "invalid_value");
    }
    assertThrowsCode(() => new TrainableTransformer(BITNET, { seed: -1 }), "invalid_value");
  });
});

/** Writes a model as float weights that are quantised when they are loaded. */
function writeOnline(directory: string, model: TrainableTransformer): void {
  const { config } = model;
  const json = {
    architectures: [config.architecture],
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    hidden_act: config.activation,
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.rmsNormEps,
    tie_word_embeddings: config.tieWordEmbeddings,
    attention_bias: config.attentionBias,
    mlp_bias: config.mlpBias,
    rope_parameters: { rope_type: "default", rope_theta: config.rope.theta },
    quantization_config: {
      quant_method: "bitnet",
      linear_class: "autobitlinear",
      quantization_mode: "online",
    },
  };
  const tensors = new Map(model.parameters.map(({ name, shape, data }) => [name, {
    dtype: "F32",
    shape: [...shape],
    bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }]));
  writeFileSync(join(directory, "config.json"), JSON.stringify(json));
  writeFileSync(join(directory, "model.safetensors"), safetensorsBytes(tensors));
}

describe("the model for inference", () => {
  for (const given of [BITNET, LLAMA]) {
    it(`has the same loss: ${given.architecture ?? "BitNet"}`, async () => {
      const model = makeModel({ ...given, hiddenSize: 64, heads: 4, vocabSize: 400 });
      const { ids } = texts(400, [1, 150], 7);
      const targets = Int32Array.from(ids, (_, i) => ids[i + 1] ?? -100);
      await withDirectory(async (directory) => {
        writeOnline(directory, model);
        using loaded = await loadModel(directory, { tokenizer: false });
        onEveryTier((label) => {
          const [trained, run] = [model.loss(ids, targets, [1, 150]), loaded.nll(ids)];
          // The hidden states have the same bits; only the sums of the logits have another order.
          assert.ok(Math.abs(trained - run) < 1e-6 * run, `${label}: ${trained} and ${run}`);
        });
      });
    });
  }
});
