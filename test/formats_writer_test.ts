/** Safetensors files that are written, and that they are there as a whole or not at all. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { Safetensors, type SafetensorsTensor, writeSafetensors } from "../mod.ts";
import { withDirectory } from "./make_model.ts";
import { assertSame, assertThrowsCode, randomFloats, wrong } from "./support.ts";

const model = new URL("../examples/models/bitnet-jargon/model.safetensors", import.meta.url);

test("every type is read back as it was written", () =>
  withDirectory((directory) => {
    const path = join(directory, "it's ünïcode.safetensors");
    const bytes = Uint8Array.of(1, 0, 255, 7);
    const tensors: Record<string, SafetensorsTensor> = {
      F64: { shape: [2], data: Float64Array.of(Math.PI, -0) },
      F32: { shape: [2, 1], data: Float32Array.of(1.5, NaN) },
      F16: { shape: [2], data: Uint16Array.of(0x3c00, 0xfc00), dtype: "F16" },
      BF16: { shape: [2], data: Uint16Array.of(0x3f80, 0x7fc0), dtype: "BF16" },
      I64: { shape: [], data: BigInt64Array.of(-(2n ** 63n)) },
      U64: { shape: [1, 1], data: BigUint64Array.of(2n ** 64n - 1n) },
      I32: { shape: [1], data: Int32Array.of(-7) },
      U32: { shape: [1], data: Uint32Array.of(2 ** 32 - 1) },
      I16: { shape: [1], data: Int16Array.of(-7) },
      U16: { shape: [1], data: Uint16Array.of(65535) },
      I8: { shape: [3], data: Int8Array.of(-1, 0, 1) },
      U8: { shape: [2, 2], data: bytes },
      BOOL: { shape: [1], data: Uint8Array.of(1), dtype: "BOOL" },
      F8_E4M3: { shape: [4], data: bytes, dtype: "F8_E4M3" },
      F4: { shape: [2, 4], data: bytes, dtype: "F4" },
      C64: { shape: [1], data: Float32Array.of(1, 2), dtype: "C64" },
      empty: { shape: [0, 5], data: new Float32Array(0) },
      // The view has bytes before and after it that are not its own.
      view: { shape: [2], data: Float32Array.of(9, 1, 2, 9).subarray(1, 3) },
      __proto__2: { shape: [1], data: Uint8Array.of(3) },
    };
    const named = new Map(Object.entries(tensors));
    named.set("__proto__", { shape: [1], data: Uint8Array.of(5) });
    writeSafetensors(pathToFileURL(path), named, { metadata: { format: "pt", "ü": "„“" } });
    using file = Safetensors.open(path);
    assert.equal(file.names.length, named.size);
    assert.equal(file.metadata.get("ü"), "„“");
    for (const [name, { shape, data, dtype }] of named) {
      const info = file.tensor(name);
      assert.deepEqual(info.shape, shape, name);
      if (dtype !== undefined) assert.equal(info.dtype, dtype);
      assert.deepEqual(
        file.read(name),
        new (data.constructor as Uint8ArrayConstructor)(data as Uint8Array),
      );
    }
    assert.deepEqual(readdirSync(directory).length, 1);
  }));

test("float32 becomes float16 and bfloat16 by rounding to the nearest, ties to even", () =>
  withDirectory((directory) => {
    const path = join(directory, "rounded.safetensors");
    const data = Float32Array.of(
      ...[1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 1 + 2 ** -11, 1 + 3 * 2 ** -11],
      ...[-0, 3.4e38, 70_000, 65_519, Infinity, -Infinity, NaN, 2 ** -24, 2 ** -25, 2 ** -133],
    );
    writeSafetensors(path, {
      bf16: { shape: [data.length], data, dtype: "BF16" },
      f16: { shape: [data.length], data, dtype: "F16" },
    });
    using file = Safetensors.open(path);
    const bfloat = [1, 1 + 2 ** -6, 1 + 2 ** -7, 1, 1, -0, Infinity, 70_144, 65_536];
    assertSame(file.readFloat32("bf16").subarray(0, 9), bfloat);
    assertSame(
      file.readFloat32("bf16").subarray(9),
      [Infinity, -Infinity, NaN, 2 ** -24, 2 ** -25, 2 ** -133],
    );
    assertSame(file.readFloat32("f16"), [
      ...[1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8, 1, 1 + 2 ** -9],
      ...[-0, Infinity, Infinity, 65_504, Infinity, -Infinity, NaN, 2 ** -24, 0, 0],
    ]);
    // A NaN all of whose upper bits are zero must not become an infinity.
    const quiet = new Float32Array(Uint32Array.of(0x7f800001, 0xffc12345).buffer);
    writeSafetensors(path + "2", { bf16: { shape: [2], data: quiet, dtype: "BF16" } });
    using nans = Safetensors.open(path + "2");
    assertSame(nans.readFloat32("bf16"), [NaN, NaN]);
  }));

test("random bfloat16 are the nearest of their neighbours", () =>
  withDirectory((directory) => {
    const path = join(directory, "many.safetensors");
    const data = randomFloats(65_537, 3);
    writeSafetensors(path, { bf16: { shape: [data.length], data, dtype: "BF16" } });
    using file = Safetensors.open(path);
    for (const [index, value] of file.readFloat32("bf16").entries()) {
      // Half of the last of 8 significant bits.
      assert.ok(Math.abs(value - data[index]!) <= Math.abs(data[index]!) * 2 ** -8);
    }
  }));

test("the layout is that of Hugging Face's writer, byte for byte", () =>
  withDirectory((directory) => {
    const path = join(directory, "model.safetensors");
    using file = Safetensors.open(model);
    const tensors = file.names.map((name): [string, SafetensorsTensor] => {
      const { shape, dtype } = file.tensor(name);
      return [name, { shape, dtype, data: file.read(name) }];
    });
    writeSafetensors(path, new Map(tensors.reverse()), {
      metadata: Object.fromEntries(file.metadata),
    });
    assert.ok(readFileSync(path).equals(readFileSync(model)));
  }));

test("a file that cannot be written leaves the old one and nothing else", () =>
  withDirectory((directory) => {
    const path = join(directory, "old.safetensors");
    const data = Float32Array.of(1);
    writeSafetensors(path, { old: { shape: [1], data } });
    const missing = join(directory, "missing", "new.safetensors");
    assertThrowsCode(() => writeSafetensors(missing, {}), "io", /new\.safetensors/);
    mkdirSync(join(directory, "folder"));
    writeFileSync(join(directory, "folder", "file"), "");
    assertThrowsCode(() => writeSafetensors(join(directory, "folder"), {}), "io");
    if (process.getuid?.() !== 0 && process.platform !== "win32") {
      chmodSync(directory, 0o500);
      assertThrowsCode(() => writeSafetensors(path, { other: { shape: [1], data } }), "io");
      chmodSync(directory, 0o700);
    }
    using file = Safetensors.open(path);
    assert.deepEqual(file.names, ["old"]);
    assert.deepEqual(readdirSync(directory).sort(), ["folder", "old.safetensors"]);
  }));

test("what does not fit is refused before anything is written", () =>
  withDirectory((directory) => {
    const path = join(directory, "bad.safetensors");
    const data = Float32Array.of(1, 2);
    const write = (tensor: unknown, name = "x") =>
      writeSafetensors(path, { [name]: wrong(tensor) });
    assertThrowsCode(() => write({ shape: [3], data }), "invalid_length", /"x".* 3 elements.*2/);
    assertThrowsCode(() => write({ shape: [2, -1], data }), "invalid_shape", /-1/);
    assertThrowsCode(() => write({ shape: [2 ** 30, 2 ** 30], data }), "invalid_shape");
    assertThrowsCode(() => write({ shape: 2, data }), "invalid_shape");
    assertThrowsCode(
      () => write({ shape: [2], data, dtype: "U8" }),
      "invalid_option",
      /F32 or F16/,
    );
    assertThrowsCode(() => write({ shape: [2], data, dtype: "wide" }), "invalid_option", /wide/);
    assertThrowsCode(() => write({ shape: [2], data: [1, 2] }), "invalid_type");
    assertThrowsCode(() => write({ shape: [2], data: new DataView(data.buffer) }), "invalid_type");
    assertThrowsCode(() => write(undefined), "invalid_type");
    assertThrowsCode(() => write(null), "invalid_type");
    assertThrowsCode(() => write({ shape: [2], data }, "__metadata__"), "invalid_value");
    assertThrowsCode(() => write({ shape: [2], data }, "\ud800"), "invalid_value");
    assertThrowsCode(
      () => write({ shape: [3], data: Uint8Array.of(1), dtype: "F4" }),
      "invalid_length",
    );
    assertThrowsCode(() => writeSafetensors(path, wrong(null)), "invalid_type");
    assertThrowsCode(() => writeSafetensors(wrong(7), {}), "invalid_type");
    assertThrowsCode(
      () => writeSafetensors(path, {}, { metadata: wrong({ n: 1 }) }),
      "invalid_type",
      /metadata\.n/,
    );
    assert.deepEqual(readdirSync(directory), []);
  }));
