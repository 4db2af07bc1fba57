/** Optimisers and norms over parameters on a GPU: the bits of the CPU. */
import assert from "node:assert/strict";
import {
  AdamW,
  clearGradients,
  clipByGlobalNorm,
  globalNorm,
  type Optimizer,
  type Parameter,
  Sgd,
  Tensor,
  type TrainableData,
} from "../mod.ts";
import { assertNothingLeft, cudaTest } from "./cuda_support.ts";
import { assertSame, assertThrowsCode, randomFloats, wrong } from "./support.ts";

const device = "cuda";
const SIZES = [1, 3, 31, 1025, 70_001];

/** Values of many sizes, zeros among them. */
function values(length: number, seed: number): Float32Array<ArrayBuffer> {
  return randomFloats(length, seed).map((value, index) =>
    index % 11 === 3 ? 0 : value * 10 ** (index % 13 - 8)
  );
}

function arrays(): Parameter<Float32Array>[] {
  return SIZES.map((size, index) => ({
    name: `p${index}`,
    shape: [size],
    data: randomFloats(size, index + 1),
    gradient: new Float32Array(size),
    decay: index % 2 === 0,
    quantized: false,
  }));
}

function tensors(parameters: readonly Parameter<Float32Array>[]): Parameter<Tensor<"f32">>[] {
  return parameters.map(({ data, gradient, ...rest }) => ({
    ...rest,
    data: Tensor.from(data, [data.length], { device }),
    gradient: Tensor.from(gradient, [data.length], { device }),
  }));
}

function free(parameters: readonly Parameter<Tensor<"f32">>[]): void {
  for (const { data, gradient } of parameters) {
    data[Symbol.dispose]();
    gradient[Symbol.dispose]();
  }
}

/** New gradients for both. */
function fill(a: Parameter<Float32Array>[], b: Parameter<Tensor<"f32">>[], seed: number): void {
  for (const [index, { gradient }] of a.entries()) {
    gradient.set(values(gradient.length, 100 * seed + index));
    const { name, shape, data, decay, quantized, gradient: old } = b[index]!;
    old[Symbol.dispose]();
    const copy = Tensor.from(gradient, [gradient.length], { device });
    b[index] = { name, shape, data, decay, quantized, gradient: copy };
  }
}

const OPTIMIZERS: [string, () => Optimizer<TrainableData> & Disposable][] = [
  ["AdamW", () => new AdamW({ weightDecay: 0.1, beta2: 0.95 })],
  ["AdamW without decay", () => new AdamW({ weightDecay: 0, beta1: 0, epsilon: 1e-3 })],
  ["Sgd", () => new Sgd({ weightDecay: 0.2 })],
  ["Sgd with momentum", () => new Sgd({ momentum: 0.9 })],
  ["Sgd after Nesterov", () => new Sgd({ momentum: 0.75, nesterov: true, weightDecay: 0.1 })],
];

for (const [name, make] of OPTIMIZERS) {
  cudaTest(`${name} makes the steps of the CPU, bit by bit`, () => {
    assertNothingLeft(() => {
      const a = arrays();
      const b = tensors(a);
      using onCpu = make();
      using onDevice = make();
      // Goes on where the one on the CPU was, on the device.
      using resumed = make();
      for (let step = 1; step <= 4; step++) {
        fill(a, b, step);
        if (step === 3) {
          resumed.loadState(onCpu.state());
          const copies = tensors(a);
          resumed.step(copies, 0.01);
          onCpu.step(a, 0.01);
          copies.forEach(({ data }, index) => assertSame(data.data(), a[index]!.data));
          free(copies);
        } else onCpu.step(a, 0.01);
        onDevice.step(b, 0.01);
        b.forEach((one, index) => assertSame(one.data.data(), a[index]!.data, one.name));
      }
      assert.equal(onDevice.steps, 4);
      const [expected, actual] = [onCpu.state(), onDevice.state()];
      assert.deepEqual(Object.keys(actual), Object.keys(expected));
      for (const [key, array] of Object.entries(expected)) assertSame(actual[key]!, array, key);
      free(b);
    });
  });
}

cudaTest("gradients are cleared, normed and clipped where they are", () => {
  const a = arrays();
  const b = tensors(a);
  fill(a, b, 1);
  const [first, second] = [a, b].map((parameters) => parameters.map(({ gradient }) => gradient));
  const norm = globalNorm(first as Float32Array[]);
  assert.equal(globalNorm(second as Tensor[]), norm);
  assert.equal(clipByGlobalNorm(second as Tensor[], norm / 3), norm);
  clipByGlobalNorm(first as Float32Array[], norm / 3);
  b.forEach(({ gradient }, index) => assertSame(gradient.data(), a[index]!.gradient));
  clearGradients(b);
  for (const { gradient } of b) assertSame(gradient.data(), new Float32Array(gradient.size));
  assert.equal(globalNorm(second as Tensor[]), 0);
  free(b);
});

cudaTest("parameters that are no pair are refused before any changes", () => {
  const optimizer = new AdamW();
  const [one, other] = tensors(arrays().slice(2, 4));
  const before = one!.data.data();
  const refuses = (parameter: unknown, code: string, message: RegExp) => {
    assertThrowsCode(() => optimizer.step([one!, wrong(parameter)], 0.1), code, message);
    assertSame(one!.data.data(), before);
    assert.equal(optimizer.steps, 0);
  };
  refuses({ ...other!, gradient: new Float32Array(1025) }, "invalid_type", /must be a Tensor/);
  refuses({ ...other!, gradient: one!.gradient }, "invalid_length", /1025 elements, got 31/);
  using words = Tensor.from(new Uint16Array(1025), [1025], { device });
  refuses({ ...other!, data: words }, "invalid_type", /dtype f32/);
  using near = Tensor.from(new Float32Array(1025), [1025], { device: "cpu" });
  refuses({ ...other!, gradient: near }, "invalid_value", /must be on cuda/);
  refuses({ ...other!, data: near }, "invalid_value", /on the CPU/);
  optimizer.step([one!], 0.1);
  optimizer.loadState({ ...optimizer.state(), "mean.p2": new Float32Array(3) });
  assertThrowsCode(() => optimizer.step([one!], 0.1), "invalid_length", /mean\.p2/);
  optimizer[Symbol.dispose]();
  optimizer[Symbol.dispose]();
  one!.data[Symbol.dispose]();
  assertThrowsCode(() => optimizer.step([one!], 0.1), "disposed");
  free([one!, other!]);
});
