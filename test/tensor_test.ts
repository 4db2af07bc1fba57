import assert from "node:assert/strict";
import { test } from "node:test";
import { Tensor } from "../mod.ts";
import { assertThrowsCode, wrong } from "./support.ts";

test("a tensor wraps each kind of array without a copy", () => {
  const arrays = {
    f32: new Float32Array(6),
    f64: new Float64Array(6),
    i8: new Int8Array(6),
    u8: new Uint8Array(6),
    u16: new Uint16Array(6),
    i32: new Int32Array(6),
    u32: new Uint32Array(6),
  };
  for (const [dtype, array] of Object.entries(arrays)) {
    const tensor = Tensor.from(array, [2, 3]);
    assert.equal(tensor.dtype, dtype);
    assert.deepEqual(tensor.shape, [2, 3]);
    assert.equal(tensor.size, 6);
    assert.equal(tensor.device, "cpu");
    assert.equal(tensor.data(), array);
  }
});

test("the constructor does what from does", () => {
  const data = Float32Array.of(1, 2, 3, 4, 5, 6);
  const tensor = new Tensor<"f32">(data, [2, 3], { device: undefined });
  const { dtype, shape, size, device } = Tensor.from(data, [2, 3]);
  assert.deepEqual(
    [tensor.dtype, tensor.shape, tensor.size, tensor.device],
    [dtype, shape, size, device],
  );
  assert.equal(tensor.data(), data);
  assertThrowsCode(() => new Tensor(data, [7]), "invalid_length");
  assertThrowsCode(() => new Tensor(wrong("f32"), [6]), "invalid_type");
  assertThrowsCode(() => new Tensor(data, wrong(undefined)), "invalid_type");
  assertThrowsCode(() => new Tensor(data, [6], { device: "cuda:99" }), "device_unavailable");
});

test("a scalar has no axes", () => {
  assert.equal(Tensor.from(Float32Array.of(7), []).size, 1);
});

test("the shape is a copy that cannot be changed", () => {
  const shape = [2, 3];
  const tensor = Tensor.from(new Float32Array(6), shape);
  shape[0] = 9;
  assert.deepEqual(tensor.shape, [2, 3]);
  assert.throws(() => wrong(tensor.shape).push(1), TypeError);
});

test("reshape shares the elements", () => {
  const tensor = Tensor.from(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
  const column = tensor.reshape([6, 1]);
  column.data()[5] = 60;
  assert.equal(tensor.data()[5], 60);
  assertThrowsCode(() => tensor.reshape([4]), "invalid_shape", /6 elements/);
});

test("a tensor that is there already stays the same", () => {
  const tensor = Tensor.from(new Float32Array(1), [1]);
  assert.equal(tensor.to("cpu"), tensor);
  assert.equal(tensor.to("auto"), tensor);
  assertThrowsCode(() => tensor.to(wrong("tpu")), "invalid_option");
  assertThrowsCode(() => tensor.to(wrong(undefined)), "invalid_option", /got undefined/);
});

test("a disposed tensor refuses every use", () => {
  const tensor = Tensor.from(new Float32Array(1), [1]);
  const view = tensor.reshape([1, 1]);
  tensor[Symbol.dispose]();
  tensor[Symbol.dispose]();
  assertThrowsCode(() => tensor.data(), "disposed");
  assertThrowsCode(() => tensor.reshape([1]), "disposed");
  assertThrowsCode(() => tensor.to("cpu"), "disposed");
  assert.equal(view.data()[0], 0);
});

test("bad tensors are refused", () => {
  const floats = new Float32Array(6);
  for (
    const data of [null, undefined, 1, [1, 2], new ArrayBuffer(8), new DataView(new ArrayBuffer(8))]
  ) {
    assertThrowsCode(() => Tensor.from(wrong(data), [2]), "invalid_type");
  }
  assertThrowsCode(() => Tensor.from(wrong(new BigInt64Array(1)), [1]), "invalid_type");
  assertThrowsCode(() => Tensor.from(floats, [7]), "invalid_length");
  assertThrowsCode(() => Tensor.from(floats, []), "invalid_length");
  assertThrowsCode(() => Tensor.from(floats, [-2, -3]), "invalid_shape");
  assertThrowsCode(() => Tensor.from(floats, [0, 6]), "invalid_shape");
  assertThrowsCode(() => Tensor.from(floats, [1.5, 4]), "invalid_shape");
  assertThrowsCode(() => Tensor.from(floats, wrong("6")), "invalid_type");
  assertThrowsCode(() => Tensor.from(floats, wrong(undefined)), "invalid_type");
  assertThrowsCode(() => Tensor.from(floats, [6], wrong(null)), "invalid_type");
});
