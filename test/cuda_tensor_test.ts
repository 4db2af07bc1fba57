import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import {
  Bundler,
  cudaAvailable,
  getDevice,
  InferenceEngine,
  info,
  PackedTernary,
  ProjectionEncoder,
  setDevice,
  SparseHypervector,
  Tensor,
  ternaryMatmul,
} from "../mod.ts";
import { assertNothingLeft, cudaTest } from "./cuda_support.ts";
import { assertSame, assertThrowsCode, randomFloats, wrong } from "./support.ts";

test("without a GPU everything says so", () => {
  if (cudaAvailable()) return;
  assert.equal(info().cuda, undefined);
  assertThrowsCode(() => setDevice("cuda"), "device_unavailable", /Device "cuda" is not available/);
  assertThrowsCode(
    () => Tensor.from(new Float32Array(1), [1], { device: "cuda:3" }),
    "device_unavailable",
  );
});

cudaTest("info describes the device", () => {
  const cuda = info().cuda!;
  assert.match(cuda.device, /^cuda:\d+$/);
  assert.ok(cuda.name.length > 0);
  assert.match(cuda.computeCapability, /^\d+\.\d$/);
  assert.ok(Number(cuda.computeCapability) >= 8);
  assert.ok(cuda.memoryBytes > 2 ** 30);
  assert.match(cuda.driver, /^\d+\.\d$/);
});

cudaTest("the device is chosen and read back", () => {
  assert.equal(getDevice(), "cpu");
  const { device } = info().cuda!;
  setDevice("cuda");
  try {
    assert.equal(getDevice(), device);
    assert.equal(Tensor.from(new Float32Array(1), [1]).device, device);
    assertThrowsCode(() => setDevice("cuda:99"), "device_unavailable", /there is cuda:0/);
    assert.equal(getDevice(), device);
  } finally {
    setDevice("auto");
  }
  assert.equal(getDevice(), "cpu");
});

cudaTest("what has no kernels there refuses", () => {
  assertThrowsCode(() => new Bundler(8, { device: "cuda" }), "unsupported", /no CUDA kernels/);
});

cudaTest("what is told to be on the CPU stays there, whatever was chosen", () => {
  setDevice("cuda");
  try {
    const on = { device: "cpu" } as const;
    using input = Tensor.from(randomFloats(12, 1), [3, 4], on);
    using weights = Tensor.from(randomFloats(8, 2), [2, 4], on);
    using packed = PackedTernary.fromWeights(weights, undefined, on);
    assert.equal(packed.matmul(input).device, "cpu");
    const engine = new InferenceEngine(on);
    assert.equal(engine.ternaryLinear(input, weights).device, "cpu");
    assert.equal(engine.softmax(input).device, "cpu");
    using encoder = new ProjectionEncoder(512, 4, on);
    using encoded = encoder.encode(Float32Array.of(1, 2, 3, 4));
    assert.equal(encoded.device, "cpu");
    const sparse = SparseHypervector.from(Int8Array.of(1, 0, -1));
    assert.deepEqual([...sparse.positive], [0]);
  } finally {
    setDevice("auto");
  }
});

/** Whether there is a second device. */
function hasSecond(): boolean {
  try {
    Tensor.from(new Float32Array(1), [1], { device: "cuda:1" })[Symbol.dispose]();
    return true;
  } catch (error) {
    assert.equal((error as { code?: string }).code, "device_unavailable");
    return false;
  }
}

cudaTest("a tensor may go once its copy on another device is asked for", () => {
  if (!hasSecond()) return;
  const size = 1 << 24;
  for (let round = 1; round <= 8; round++) {
    const source = Tensor.from(new Float32Array(size).fill(round), [size], { device: "cuda:0" });
    using copy = source.to("cuda:1");
    source[Symbol.dispose]();
    // Takes the memory that has just been freed.
    using _next = Tensor.from(new Float32Array(size).fill(-1), [size], { device: "cuda:0" });
    assert.ok(copy.data().every((value) => value === round), `round ${round}`);
  }
});

cudaTest("every dtype travels there and back", () => {
  const bytes = new Uint8Array(8 * 1001);
  for (let index = 0; index < bytes.length; index++) bytes[index] = (index * 151) & 0x7f;
  const arrays = [
    new Float32Array(bytes.buffer, 0, 1001),
    new Float64Array(bytes.buffer, 0, 1001),
    new Int8Array(bytes.buffer, 3, 1001),
    new Uint8Array(bytes.buffer, 5, 1001),
    new Uint16Array(bytes.buffer, 2, 1001),
    new Int32Array(bytes.buffer, 4, 1001),
    new Uint32Array(bytes.buffer, 4, 1001),
  ];
  assertNothingLeft(() => {
    for (const array of arrays) {
      using tensor = Tensor.from(array, [7, 143], { device: "cuda" });
      assert.equal(tensor.size, 1001);
      assert.match(tensor.device, /^cuda:/);
      const back = tensor.data();
      assert.equal(back.constructor, array.constructor);
      assertSame(back, array);
      assert.notEqual(back, tensor.data());
    }
  });
});

cudaTest("sizes around the staging buffers travel whole", () => {
  assertNothingLeft(() => {
    for (const megabytes of [4, 8, 12, 33]) {
      for (const more of [-1, 0, 1]) {
        const bytes = new Uint8Array(megabytes * 2 ** 20 + more);
        for (let index = 0; index < bytes.length; index += 4093) bytes[index] = index % 251;
        bytes[bytes.length - 1] = 77;
        using tensor = Tensor.from(bytes, [bytes.length], { device: "cuda" });
        // The copy is of that moment.
        const expected = bytes.slice();
        bytes.fill(9);
        assert.equal(Buffer.compare(tensor.data(), expected), 0);
      }
    }
  });
});

cudaTest("to and read move a tensor", async () => {
  const array = randomFloats(5000, 1);
  using there = Tensor.from(array, [50, 100]).to("cuda");
  assert.equal(there.to("cuda"), there);
  assertSame(await there.read(), array);
  const back = there.to("cpu");
  assert.equal(back.device, "cpu");
  assert.deepEqual(back.shape, [50, 100]);
  assertSame(back.data(), array);
});

cudaTest("reshaped tensors share memory that lives as long as one of them", () => {
  assertNothingLeft(() => {
    const array = randomFloats(600, 2);
    const tensor = Tensor.from(array, [600], { device: "cuda" });
    const { allocatedBytes } = info().cuda!;
    const view = tensor.reshape([20, 30]);
    assert.equal(info().cuda!.allocatedBytes, allocatedBytes);
    tensor[Symbol.dispose]();
    tensor[Symbol.dispose]();
    assertThrowsCode(() => tensor.data(), "disposed");
    assertThrowsCode(() => tensor.reshape([600]), "disposed");
    assertThrowsCode(() => tensor.to("cpu"), "disposed");
    assertSame(view.data(), array);
    assertThrowsCode(() => view.reshape([7]), "invalid_shape");
    view[Symbol.dispose]();
  });
});

cudaTest("nothing travels unasked", () => {
  using there = Tensor.from(new Float32Array(4), [1, 4], { device: "cuda" });
  const here = Tensor.from(new Float32Array(4), [1, 4]);
  const trits = Int8Array.of(1, 0, -1, 1);
  const scale = Float32Array.of(1);
  using cpu = PackedTernary.fromTernary(trits, scale, [1, 4]);
  using gpu = PackedTernary.fromTernary(trits, scale, [1, 4], { device: "cuda" });
  assertThrowsCode(() => cpu.matmul(there), "invalid_value", /must be on cpu/);
  assertThrowsCode(() => gpu.matmul(here), "invalid_value", /must be on cuda/);
  assertThrowsCode(() => gpu.matmul(there, { bias: Tensor.from(scale, [1]) }), "invalid_value");
  assertThrowsCode(() => gpu.matmul(there, { out: wrong(new Float32Array(1)) }), "invalid_type");
  assertThrowsCode(() => gpu.matmul(there, { device: "cpu" }), "invalid_option");
  assertThrowsCode(() => cpu.matmul(here, { device: "cuda" }), "invalid_option");
  const bytes = cpu.toPackedBytes();
  assertSame(ternaryMatmul(here.data(), bytes, scale, [1, 4], { device: "cuda" }), [0]);
});

cudaTest("out of memory is an error that leaves the library usable", () => {
  assertNothingLeft(() => {
    const rows = 65_536;
    const tokens = 65_535;
    using weights = PackedTernary.fromTernary(
      new Int8Array(rows),
      new Float32Array(rows).fill(1),
      [rows, 1],
      { device: "cuda" },
    );
    using input = Tensor.from(new Float32Array(tokens), [tokens, 1], { device: "cuda" });
    const results: Tensor[] = [];
    try {
      assertThrowsCode(() => {
        // 16 GiB each.
        for (let count = 0; count < 64; count++) results.push(weights.matmul(input));
      }, "out_of_memory");
    } finally {
      for (const result of results) result[Symbol.dispose]();
    }
    using again = Tensor.from(Float32Array.of(1, 2), [2, 1], { device: "cuda" });
    using result = weights.matmul(again);
    assert.equal(result.size, 2 * rows);
    assert.equal(result.data()[rows], 0);
  });
});
