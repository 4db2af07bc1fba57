// Every layer that trains, against a tape in float64 and against finite differences, on odd sizes.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  ActivationGate,
  CausalAttention,
  CrossEntropyHead,
  QuantizedTokens,
  RotaryEmbedding,
  TrainableBitLinear,
  TrainableEmbedding,
  TrainableRmsNorm,
} from "../mod.ts";
import { type Node, rowsOf, Tape } from "./gradient_tape.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  quantizeRow,
  randomFloats,
  unaligned,
} from "./support.ts";
import {
  attend,
  bitLinear,
  crossEntropy,
  gated,
  quantizeTokens,
  quantizeWeights,
  rmsNorm,
  rotate,
} from "./training_reference.ts";

type Forward = (tape: Tape, inputs: Node[][]) => Node[];

/** What a layer gave: its output and the gradients of its inputs. */
interface Result {
  output: Float32Array;
  gradients: Float32Array[];
}

/** A sum of the outputs with weights that are the gradient handed to the layer. */
function weighted(inputs: Float32Array[], gradient: Float32Array, forward: Forward) {
  const tape = new Tape();
  const nodes = inputs.map((input) => tape.inputs(input));
  const output = forward(tape, nodes);
  const loss = tape.dot(output, tape.inputs(gradient));
  return { tape, nodes, output, loss };
}

/** (f(x + h) - f(x - h)) / 2h for one element of one input. */
function slope(
  inputs: Float32Array[],
  gradient: Float32Array,
  forward: Forward,
  which: number,
  index: number,
): number {
  const h = 2 ** -12;
  const at = (step: number) => {
    const moved = inputs.map((input) => Float64Array.from(input));
    moved[which]![index]! += step;
    const { tape, loss } = weighted(moved as unknown as Float32Array[], gradient, forward);
    return tape.at(loss);
  };
  return (at(h) - at(-h)) / (2 * h);
}

/**
 * Compares a layer on every tier. `frozen` is the function whose slopes are measured, where it is not
 * `forward` itself because that has steps.
 */
function compare(
  inputs: Float32Array[],
  gradient: Float32Array,
  layer: (inputs: Float32Array[], gradient: Float32Array) => Result,
  forward: Forward,
  frozen: Forward = forward,
): void {
  const { tape, nodes, output, loss } = weighted(inputs, gradient, forward);
  const expected = tape.valuesOf(output);
  const gradientsOf = tape.gradientsOf(loss);
  const expectedGradients = nodes.map((input) => gradientsOf(input));
  // Sums of up to some hundred terms: as many roundings of 2^-24, of terms as large as the largest.
  const near = (values: number[]) => 2e-5 * Math.max(1e-6, ...values.map(Math.abs));
  onEveryTier((label) => {
    const result = layer(inputs, gradient);
    assertNear(result.output, expected, near(expected), `${label}: output`);
    expectedGradients.forEach((values, which) => {
      assertNear(result.gradients[which]!, values, near(values), `${label}: gradient ${which}`);
    });
  });
  expectedGradients.forEach((values, which) => {
    const largest = Math.max(...values.map(Math.abs));
    for (let index = 0; index < values.length; index += Math.ceil(values.length / 5)) {
      const measured = slope(inputs, gradient, frozen, which, index);
      // The error of a central difference is h^2 / 6 of the third derivative.
      const error = Math.abs(measured - values[index]!);
      assert.ok(error < 1e-5 * Math.max(1, largest), `slope ${which}[${index}]: off by ${error}`);
    }
  });
}

describe("TrainableRmsNorm", () => {
  for (const [rows, features] of [[1, 1], [3, 5], [2, 33], [70, 16]] as const) {
    it(`has the gradients of ${rows} x ${features}`, () => {
      const norm = new TrainableRmsNorm(features, { epsilon: 1e-3 });
      const inputs = [randomFloats(rows * features, 1), randomFloats(features, 2)];
      compare(inputs, randomFloats(rows * features, 3), ([input, weight], gradient) => {
        norm.weight.data.set(weight!);
        norm.weight.gradient.fill(0);
        const output = norm.forward(input!);
        return { output, gradients: [norm.backward(gradient), norm.weight.gradient] };
      }, (tape, [input, weight]) => rmsNorm(tape, input!, weight!, 1e-3));
    });
  }

  it("adds where asked, and works in place", () => {
    const norm = new TrainableRmsNorm(40);
    const gradient = randomFloats(80, 2);
    norm.forward(randomFloats(80, 1));
    const alone = norm.backward(gradient).slice();
    const weight = norm.weight.gradient.slice();
    const before = randomFloats(80, 3);
    const out = before.slice();
    norm.backward(gradient, { out, accumulate: true });
    assertSame(out, alone.map((value, i) => Math.fround(value + before[i]!)));
    assertSame(norm.weight.gradient, weight.map((value) => 2 * value));
    const inPlace = gradient.slice();
    assertSame(norm.backward(inPlace, { out: inPlace }), alone);
  });

  it("does not depend on how many threads add up tokens", () => {
    const norm = new TrainableRmsNorm(65);
    const [input, gradient] = [randomFloats(1000 * 65, 1), randomFloats(1000 * 65, 2)];
    let first: Float32Array | undefined;
    onEveryTier((label) => {
      norm.weight.gradient.fill(0);
      norm.forward(input);
      norm.backward(gradient);
      first ??= norm.weight.gradient.slice();
      assertSame(norm.weight.gradient, first, label);
    });
  });
});

/** A linear layer on a tape whose rounding is what it was at the first call: it has no steps. */
function frozenLinear(features: number, hasBias: boolean): Forward {
  let offsets: number[][] | undefined;
  return (tape, [input, weights, bias]) => {
    offsets ??= [
      [quantizeTokens(tape, input!, features), input!],
      [quantizeWeights(tape, weights!), weights!],
    ].map(([rounded, exact]) => rounded!.map((node, i) => tape.at(node) - tape.at(exact![i]!)));
    const [x, w] = [input!, weights!].map((nodes, which) =>
      rowsOf(
        nodes.map((node, i) => tape.straightThrough(node, tape.at(node) + offsets![which]![i]!)),
        features,
      )
    );
    return x!.flatMap((token) =>
      w!.map((row, i) => hasBias ? tape.add(tape.dot(token, row), bias![i]!) : tape.dot(token, row))
    );
  };
}

describe("TrainableBitLinear", () => {
  for (
    const [tokens, inFeatures, outFeatures] of [
      [1, 1, 1],
      [3, 5, 7],
      [2, 33, 31],
      [17, 20, 65],
      [6, 130, 12],
    ] as const
  ) {
    for (const bias of [false, true]) {
      it(`has the gradients of ${tokens} x ${inFeatures} x ${outFeatures}, bias ${bias}`, () => {
        const layer = new TrainableBitLinear(inFeatures, outFeatures, { bias });
        const inputs = [
          randomFloats(tokens * inFeatures, 4),
          randomFloats(inFeatures * outFeatures, 5),
          ...(bias ? [randomFloats(outFeatures, 6)] : []),
        ];
        const frozen = frozenLinear(inFeatures, bias);
        // At the point itself first: that is where the rounding is frozen.
        weighted(inputs, randomFloats(tokens * outFeatures, 7), frozen);
        compare(
          inputs,
          randomFloats(tokens * outFeatures, 7),
          ([input, ...values], gradient) => {
            layer.parameters.forEach(({ data, gradient }, i) => {
              data.set(values[i]!);
              gradient.fill(0);
            });
            const output = layer.forward(input!);
            const gradients = [
              layer.backward(gradient),
              ...layer.parameters.map(({ gradient }) => gradient),
            ];
            return { output, gradients };
          },
          (tape, [input, weight, added]) => bitLinear(tape, input!, weight!, inFeatures, added),
          frozen,
        );
      });
    }
  }

  it("adds where asked", () => {
    const layer = new TrainableBitLinear(50, 40);
    layer.weight.data.set(randomFloats(2000, 1));
    layer.forward(randomFloats(3 * 50, 2));
    const gradient = randomFloats(3 * 40, 3);
    const alone = layer.backward(gradient).slice();
    const before = randomFloats(150, 4);
    const out = layer.backward(gradient, { out: before.slice(), accumulate: true });
    assertSame(out, alone.map((value, i) => Math.fround(value + before[i]!)));
  });

  it("has the same bits with any number of threads", () => {
    const layer = new TrainableBitLinear(323, 517);
    layer.weight.data.set(randomFloats(323 * 517, 1));
    const [input, gradient] = [randomFloats(411 * 323, 2), randomFloats(411 * 517, 3)];
    const byTier = new Map<string, Float32Array[]>();
    let output: Float32Array | undefined;
    onEveryTier((label) => {
      layer.weight.gradient.fill(0);
      const results = [layer.forward(input), layer.backward(gradient), layer.weight.gradient]
        .map((values) => values.slice());
      output ??= results[0]!;
      assertSame(results[0]!, output, `${label}: output`);
      const tier = label.split(",")[0]!;
      const first = byTier.get(tier) ?? results;
      byTier.set(tier, first);
      results.forEach((values, i) => assertSame(values, first[i]!, `${label}: result ${i}`));
    });
    const [one, ...others] = [...byTier.values()];
    for (const other of others) {
      one!.forEach((values, i) => {
        const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        assertNear(other[i]!, values, 1e-5 * largest);
      });
    }
  });

  it("shares quantised tokens", () => {
    const tokens = new QuantizedTokens(24);
    const input = unaligned(randomFloats(5 * 24, 1));
    tokens.quantize(input);
    assert.equal(tokens.count, 5);
    for (let row = 0; row < 5; row++) {
      const { quantized, scale } = quantizeRow(input.subarray(row * 24, (row + 1) * 24));
      assertSame(tokens.values.subarray(row * 24, (row + 1) * 24), quantized.map((q) => q + 0));
      assert.equal(tokens.scales[row], scale);
      assert.equal(tokens.sums[row], quantized.reduce((a, b) => a + b));
    }
    const [a, b] = [new TrainableBitLinear(24, 9), new TrainableBitLinear(24, 9)];
    for (const layer of [a, b]) layer.weight.data.set(randomFloats(24 * 9, 2));
    assertSame(a.forward(tokens), b.forward(input));
    const tiny = new QuantizedTokens(2).quantize(Float32Array.of(0, 0, 1e-7, -1e-6));
    assertSame(tiny.values, [0, 0, 1, -13]);
  });

  it("refuses what does not fit", () => {
    const layer = new TrainableBitLinear(4, 2);
    assertThrowsCode(() => layer.backward(new Float32Array(2)), "invalid_value", /follow/);
    assertThrowsCode(() => layer.forward(new Float32Array(3)), "invalid_length");
    assertThrowsCode(
      () => layer.forward(Float32Array.of(1, NaN, 1, 1)),
      "invalid_value",
      /index 1/,
    );
    assertThrowsCode(() => layer.forward(new QuantizedTokens(3)), "invalid_shape");
    layer.weight.data[5] = Infinity;
    assertThrowsCode(() => layer.forward(new Float32Array(4)), "invalid_value", /index 5/);
    layer.weight.data[5] = 0;
    layer.forward(new Float32Array(8));
    assertThrowsCode(() => layer.backward(new Float32Array(3)), "invalid_length");
    assertThrowsCode(
      () => layer.backward(new Float32Array(4), { out: new Float32Array(7) }),
      "invalid_length",
    );
  });
});

describe("TrainableEmbedding", () => {
  for (const [ids, features] of [[[0], 1], [[4, 1, 4, 4, 0], 33], [[2, 2], 100]] as const) {
    it(`has the gradients of ids ${ids} x ${features}`, () => {
      const layer = new TrainableEmbedding(5, features);
      const chosen = Int32Array.from(ids);
      compare(
        [randomFloats(5 * features, 1)],
        randomFloats(ids.length * features, 2),
        ([table], gradient) => {
          layer.weight.data.set(table!);
          layer.weight.gradient.fill(0);
          const output = layer.forward(chosen);
          layer.backward(gradient);
          return { output, gradients: [layer.weight.gradient] };
        },
        (tape, [table]) => {
          const rows = rowsOf(table!, features);
          return ids.flatMap((id) => rows[id]!.map((node) => tape.scale(node, 1)));
        },
      );
    });
  }

  it("refuses ids that are not there", () => {
    const layer = new TrainableEmbedding(5, 3);
    for (const id of [5, -1, -100]) {
      assertThrowsCode(() => layer.forward(Int32Array.of(0, id)), "invalid_value", /index 1/);
    }
  });
});

describe("RotaryEmbedding", () => {
  for (
    const [texts, length, heads, headDim] of [[1, 1, 1, 2], [2, 5, 3, 6], [1, 9, 2, 34]] as const
  ) {
    it(`turns ${texts} x ${length} x ${heads} x ${headDim}, and gradients back`, () => {
      const layer = new RotaryEmbedding(headDim, { theta: 50 });
      const size = texts * length * heads * headDim;
      compare([randomFloats(size, 1)], randomFloats(size, 2), ([values], gradient) => {
        const [output, back] = [values!.slice(), gradient.slice()];
        layer.forward(output, length, { heads });
        layer.backward(back, length, { heads });
        return { output, gradients: [back] };
      }, (tape, [values]) => rotate(tape, values!, length, heads, headDim, 50));
    });
  }
});

describe("ActivationGate", () => {
  for (const activation of ["relu2", "silu"] as const) {
    for (const size of [1, 3, 31, 33, 100]) {
      it(`has the gradients of ${activation} of ${size}`, () => {
        const layer = new ActivationGate(activation);
        const inputs = [randomFloats(size, 1).map((value) => 4 * value), randomFloats(size, 2)];
        compare(inputs, randomFloats(size, 3), ([gate, up], gradient) => {
          const output = layer.forward(gate!, up!);
          const gradients = layer.backward(gradient);
          const copies = [gate!.slice(), up!.slice()] as const;
          layer.forward(...copies);
          layer.backward(gradient, { inPlace: true });
          assertSame(copies[0], gradients.gate);
          assertSame(copies[1], gradients.up);
          return { output, gradients: [gradients.gate, gradients.up] };
        }, (tape, [gate, up]) => gated(tape, gate!, up!, activation));
      });
    }
  }
});

describe("CausalAttention", () => {
  for (
    const [batch, length, heads, kvHeads, headDim] of [
      [1, 1, 1, 1, 2],
      [2, 3, 2, 1, 6],
      [1, 17, 3, 3, 4],
      [1, 37, 4, 2, 18],
      [2, 33, 2, 2, 32],
    ] as const
  ) {
    it(`has the gradients of ${batch} x ${length}, ${heads} heads on ${kvHeads} of ${headDim}`, () => {
      const layer = new CausalAttention({ heads, kvHeads, headDim });
      const [wide, narrow] = [heads, kvHeads].map((count) => batch * length * count * headDim);
      const inputs = [randomFloats(wide!, 1), randomFloats(narrow!, 2), randomFloats(narrow!, 3)]
        .map((values, i) => values.map((value) => value * (i === 2 ? 1 : 3)));
      compare(inputs, randomFloats(wide!, 4), ([q, k, v], gradient) => {
        const output = layer.forward(q!, k!, v!, [batch, length]);
        const { queries, keys, values } = layer.backward(gradient);
        return { output, gradients: [queries, keys, values] };
      }, (tape, [q, k, v]) => attend(tape, q!, k!, v!, { batch, length, heads, kvHeads, headDim }));
    });
  }

  it("has the same bits with any number of threads", () => {
    const layer = new CausalAttention({ heads: 6, kvHeads: 2, headDim: 20 });
    const [q, k, v, g] = [120, 40, 40, 120].map((width, i) => randomFloats(3 * 150 * width, i));
    const byTier = new Map<string, Float32Array[]>();
    onEveryTier((label) => {
      const output = layer.forward(q!, k!, v!, [3, 150]);
      const { queries, keys, values } = layer.backward(g!);
      const results = [output, queries, keys, values].map((array) => array.slice());
      const tier = label.split(",")[0]!;
      const first = byTier.get(tier) ?? results;
      byTier.set(tier, first);
      results.forEach((array, i) => assertSame(array, first[i]!, `${label}: result ${i}`));
    });
  });

  it("refuses what does not fit", () => {
    assertThrowsCode(
      () => new CausalAttention({ heads: 3, kvHeads: 2, headDim: 4 }),
      "invalid_value",
    );
    assertThrowsCode(() => new CausalAttention({ heads: 2, headDim: 3 }), "invalid_value");
    const layer = new CausalAttention({ heads: 2, headDim: 4 });
    const [a, b] = [new Float32Array(16), new Float32Array(8)];
    assertThrowsCode(() => layer.backward(a), "invalid_value", /follow/);
    assertThrowsCode(() => layer.forward(a, b, a, [1, 2]), "invalid_length");
    assertThrowsCode(() => layer.forward(a, a, a, [1, 2], { out: a }), "invalid_value", /overlap/);
  });
});

describe("CrossEntropyHead", () => {
  for (const [tokens, features, vocab] of [[1, 1, 2], [5, 7, 33], [40, 20, 65]] as const) {
    it(`has the gradients of ${tokens} x ${features} x ${vocab}`, () => {
      const { weight } = new TrainableEmbedding(vocab, features);
      const head = new CrossEntropyHead(weight);
      const targets = Int32Array.from(
        { length: tokens },
        (_, i) => i % 7 === 2 ? -100 : (i * 5) % vocab,
      );
      const inputs = [randomFloats(tokens * features, 1), randomFloats(vocab * features, 2)];
      compare(inputs, Float32Array.of(0.75), ([hidden, table], gradient) => {
        weight.data.set(table!);
        weight.gradient.fill(0);
        const result = head.lossAndGradient(hidden!, targets, { scale: gradient[0]! });
        assert.equal(head.loss(hidden!, targets), result.loss);
        return {
          output: Float32Array.of(result.loss),
          gradients: [result.gradient, weight.gradient],
        };
      }, (tape, [hidden, table]) => [crossEntropy(tape, hidden!, table!, targets, features)]);
    });
  }

  it("is the same in several chunks of tokens", () => {
    // Logits of a 4 MiB chunk: 25 tokens of this vocabulary.
    const [tokens, features, vocab] = [70, 3, 40_000];
    const { weight } = new TrainableEmbedding(vocab, features);
    weight.data.set(randomFloats(vocab * features, 1));
    const head = new CrossEntropyHead(weight);
    const hidden = randomFloats(tokens * features, 2);
    const targets = Int32Array.from({ length: tokens }, (_, i) => i % 3 === 0 ? -100 : i * 570);
    const { loss, gradient } = head.lossAndGradient(hidden, targets);
    const losses: number[] = [];
    for (let token = 0; token < tokens; token++) {
      const row = hidden.subarray(token * features, (token + 1) * features);
      const target = targets.subarray(token, token + 1);
      if (target[0] === -100) {
        assertSame(gradient.subarray(token * features, (token + 1) * features), [0, 0, 0]);
      } else losses.push(head.loss(row, target));
    }
    const mean = losses.reduce((a, b) => a + b) / losses.length;
    assert.ok(Math.abs(mean - loss) < 1e-9 * loss, `${mean} and ${loss}`);
  });

  it("counts nothing where no target counts", () => {
    const { weight } = new TrainableEmbedding(4, 2);
    const head = new CrossEntropyHead(weight);
    const { loss, gradient } = head.lossAndGradient(randomFloats(4, 1), Int32Array.of(-100, -100));
    assert.equal(loss, 0);
    assertSame(gradient, new Float32Array(4));
    assertSame(weight.gradient, new Float32Array(8));
  });

  it("refuses targets that are not there", () => {
    const head = new CrossEntropyHead(new TrainableEmbedding(4, 2).weight);
    for (const target of [4, -1, -99]) {
      assertThrowsCode(() => head.loss(randomFloats(2, 1), Int32Array.of(target)), "invalid_value");
    }
  });
});
