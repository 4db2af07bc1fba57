import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { Safetensors, TritterError } from "../mod.ts";
import { assertThrowsCode, seeded, wrong } from "./support.ts";
import { safetensorsBytes, type StoredTensor, withDirectory, withHeader } from "./make_model.ts";

const tensor = (dtype: string, shape: number[], bytes: ArrayLike<number>): StoredTensor => ({
  dtype,
  shape,
  bytes: Uint8Array.from(bytes),
});

function sample(): Map<string, StoredTensor> {
  return new Map([
    ["floats", tensor("F32", [2, 1], [0, 0, 128, 63, 0, 0, 0, 192])],
    ["halves", tensor("F16", [4], [0, 60, 1, 0, 0, 252, 0, 129])],
    ["brains", tensor("BF16", [2], [128, 63, 0, 192])],
    ["bytes", tensor("I8", [3], [255, 0, 1])],
    ["longs", tensor("I64", [1], [255, 255, 255, 255, 255, 255, 255, 255])],
    ["nothing", tensor("U8", [0, 5], [])],
    ["scalar", tensor("F64", [], [0, 0, 0, 0, 0, 0, 240, 63])],
    ["__proto__", tensor("BOOL", [1], [1])],
  ]);
}

test("a file is read back, every type as its array", () =>
  withDirectory((directory) => {
    const path = join(directory, "it's ünïcode.safetensors");
    writeFileSync(path, safetensorsBytes(sample()));
    using file = Safetensors.open(pathToFileURL(path));
    assert.deepEqual(file.names, [...sample().keys()]);
    assert.equal(file.metadata.get("format"), "pt");
    assert.deepEqual(file.read("floats"), Float32Array.of(1, -2));
    assert.deepEqual(file.read("halves"), Uint16Array.of(0x3c00, 1, 0xfc00, 0x8100));
    assert.deepEqual(
      file.readFloat32("halves"),
      Float32Array.of(1, 2 ** -24, -Infinity, -(2 ** -16)),
    );
    assert.deepEqual(file.readFloat32("brains"), Float32Array.of(1, -2));
    assert.deepEqual(file.readFloat32("brains", 1), Float32Array.of(-2));
    assert.deepEqual(file.readFloat32("floats", 0, 1), Float32Array.of(1));
    assert.deepEqual(file.read("bytes"), Int8Array.of(-1, 0, 1));
    assert.deepEqual(file.read("longs"), BigInt64Array.of(-1n));
    assert.deepEqual(file.read("nothing"), new Uint8Array(0));
    assert.deepEqual(file.read("scalar"), Float64Array.of(1));
    assert.deepEqual(file.read("__proto__"), Uint8Array.of(1));
    assert.deepEqual(file.tensor("bytes").shape, [3]);
    assert.equal(file.has("other"), false);
    assertThrowsCode(() => file.tensor("other"), "invalid_value", /other/);
    assertThrowsCode(() => file.readFloat32("bytes"), "unsupported");
    assertThrowsCode(() => file.readFloat32("floats", 1, 2), "invalid_value");
    assertThrowsCode(() => file.readFloat32("floats", -1), "invalid_value");
    file[Symbol.dispose]();
    assertThrowsCode(() => file.read("floats"), "disposed");
  }));

test("a file larger than 4 GiB is read without a copy of it", () =>
  withDirectory((directory) => {
    const path = join(directory, "large.safetensors");
    const large = 2 ** 32 + 12;
    const header = JSON.stringify({
      large: { dtype: "U8", shape: [large], data_offsets: [0, large] },
      last: { dtype: "F32", shape: [1], data_offsets: [large, large + 4] },
    });
    const start = withHeader(header);
    const file = openSync(path, "w");
    ftruncateSync(file, start.length + large + 4);
    writeSync(file, start, 0, start.length, 0);
    writeSync(file, Uint8Array.of(0, 0, 128, 63), 0, 4, start.length + large);
    closeSync(file);
    using tensors = Safetensors.open(path);
    assert.deepEqual(tensors.read("last"), Float32Array.of(1));
    assertThrowsCode(() => tensors.read("large"), "invalid_length");
  }));

test("what is not a file that can be mapped gives a typed error", () =>
  withDirectory((directory) => {
    assertThrowsCode(() => Safetensors.open(join(directory, "none")), "io", /none/);
    mkdirSync(join(directory, "folder"));
    assertThrowsCode(() => Safetensors.open(join(directory, "folder")), "io");
    writeFileSync(join(directory, "empty"), "");
    assertThrowsCode(() => Safetensors.open(join(directory, "empty")), "invalid_format", /empty/);
    assertThrowsCode(() => Safetensors.open(""), "invalid_value");
    assertThrowsCode(() => Safetensors.open("a\0b"), "invalid_value");
    assertThrowsCode(() => Safetensors.open(wrong(7)), "invalid_type");
    assertThrowsCode(() => Safetensors.open(new URL("http://localhost/x")), "invalid_value");
  }));

test("a reader is made by Safetensors.open only", () => {
  for (const args of [[], ["a path"], [Symbol("Safetensors"), {}, {}], [null, null]]) {
    assertThrowsCode(() => new (wrong(Safetensors))(...args), "invalid_type", /Safetensors\.open/);
  }
});

const entry = (fields: Record<string, unknown>, rest: Record<string, unknown> = {}) =>
  JSON.stringify({ x: { dtype: "U8", shape: [4], data_offsets: [0, 4], ...fields }, ...rest });
const second = (begin: number, end: number) => ({
  y: { dtype: "U8", shape: [end - begin], data_offsets: [begin, end] },
});

// Name, header, bytes of data.
const malformed: [string, string, number][] = [
  ["no JSON", "{", 0],
  ["an array", "[]", 0],
  ["text", '"text"', 0],
  ["leading space", " {}", 0],
  ["a byte order mark", "\uFEFF{}", 0],
  ["deep nesting", "[".repeat(100_000), 0],
  ["a deep entry", `{"x":${"[".repeat(50_000)}${"]".repeat(50_000)}}`, 0],
  ["a number for an entry", '{"x":1}', 0],
  ["null for an entry", '{"x":null}', 0],
  ["an array for an entry", '{"x":[]}', 0],
  ["an empty entry", '{"x":{}}', 0],
  ["metadata that is no text", '{"__metadata__":{"a":1}}', 0],
  ["metadata that is no object", '{"__metadata__":"a"}', 0],
  ["an unknown dtype", entry({ dtype: "F31" }), 4],
  ["a dtype from the prototype", entry({ dtype: "toString" }), 4],
  ["a dtype that is no text", entry({ dtype: 3 }), 4],
  ["a negative size", entry({ shape: [-4] }), 4],
  ["two negative sizes", entry({ shape: [-2, -2] }), 4],
  ["a fractional size", entry({ shape: [0.5, 8] }), 4],
  ["a size as text", entry({ shape: ["4"] }), 4],
  ["a huge size", entry({ shape: [2 ** 53] }), 4],
  ["a huge product", entry({ shape: [2 ** 40, 2 ** 40] }), 4],
  ["sizes that overflow to nothing", entry({ shape: Array(40).fill(2 ** 32).concat(0) }), 4],
  ["no shape", entry({ shape: undefined }), 4],
  ["a shape that is no array", entry({ shape: { length: 1, 0: 4 } }), 4],
  ["a shape that does not match", entry({ shape: [5] }), 4],
  ["a dtype that does not match", entry({ dtype: "F32" }), 4],
  ["half a byte", entry({ dtype: "F4", shape: [7] }), 4],
  ["no offsets", entry({ data_offsets: undefined }), 4],
  ["one offset", entry({ data_offsets: [0] }), 4],
  ["three offsets", entry({ data_offsets: [0, 4, 4] }), 4],
  ["a negative offset", entry({ data_offsets: [-4, 0] }), 4],
  ["a fractional offset", entry({ data_offsets: [0.5, 4.5] }), 8],
  ["offsets the wrong way", entry({ data_offsets: [4, 0] }), 4],
  ["an offset past the end", entry({ data_offsets: [0, 4] }), 3],
  ["an offset far past the end", entry({ data_offsets: [2 ** 52, 2 ** 52 + 4] }), 4],
  ["an overlap", entry({}, second(2, 6)), 6],
  ["the same bytes twice", entry({}, second(0, 4)), 4],
  ["a hole", entry({}, second(5, 9)), 9],
  ["a hole at the start", entry({ data_offsets: [1, 5] }), 5],
  ["bytes at the end", entry({}), 5],
  ["bytes and no tensors", "{}", 1],
  ["a tensor twice", entry({}).slice(0, -1) + "," + entry({}).slice(1), 4],
  ["a field twice", entry({}).replace('"dtype"', '"dtype":"U8","dtype"'), 4],
  ["a name twice, once escaped", entry({}).slice(0, -1) + ',"\\u0078":{}}', 4],
];

for (const [name, header, size] of malformed) {
  test(`a header with ${name} is refused`, () =>
    withDirectory((directory) => {
      const path = join(directory, "bad.safetensors");
      writeFileSync(path, withHeader(header, [new Uint8Array(size)]));
      assertThrowsCode(() => Safetensors.open(path), "invalid_format", /bad\.safetensors/);
    }));
}

test("unusual but allowed headers are read", () =>
  withDirectory((directory) => {
    const headers: [string, number][] = [
      ["{}", 0],
      ["{}   \n", 0],
      [entry({}) + " ".repeat(100), 4],
      [entry({ note: { a: { b: [1, "x:y", '"'] } } }), 4],
      [entry({ dtype: "F4", shape: [8] }), 4],
      [entry({}, second(4, 4)), 4],
      [entry({ data_offsets: [3, 7] }, second(0, 3)), 7],
    ];
    for (const [header, size] of headers) {
      const path = join(directory, "good.safetensors");
      writeFileSync(path, withHeader(header, [new Uint8Array(size)]));
      Safetensors.open(path)[Symbol.dispose]();
    }
  }));

test("a wrong header length or bad UTF-8 is refused", () =>
  withDirectory((directory) => {
    const path = join(directory, "bad.safetensors");
    const good = withHeader(entry({}), [new Uint8Array(4)]);
    for (const length of [0n, 1n, 2n ** 63n, 2n ** 64n - 1n, BigInt(good.length), 100_000_001n]) {
      const bytes = good.slice();
      new DataView(bytes.buffer).setBigUint64(0, length, true);
      writeFileSync(path, bytes);
      assertThrowsCode(() => Safetensors.open(path), "invalid_format");
    }
    for (let size = 1; size < good.length; size += 1) {
      writeFileSync(path, good.subarray(0, size));
      assertThrowsCode(() => Safetensors.open(path), "invalid_format");
    }
    writeFileSync(path, withHeader(entry({}), [new Uint8Array(4)]).fill(0xff, 10, 11));
    assertThrowsCode(() => Safetensors.open(path), "invalid_format", /UTF-8/);
  }));

test("hundreds of damaged files are read or refused, never worse", () =>
  withDirectory((directory) => {
    const path = join(directory, "damaged.safetensors");
    const good = safetensorsBytes(sample());
    const draw = seeded(2);
    let refused = 0;
    for (let round = 0; round < 600; round += 1) {
      const bytes = good.slice();
      for (let flips = Math.floor(draw() * 3); flips >= 0; flips -= 1) {
        bytes[Math.floor(draw() * bytes.length)]! ^= 1 << Math.floor(draw() * 8);
      }
      const size = draw() < 0.2 ? Math.floor(draw() * bytes.length) : bytes.length;
      writeFileSync(path, bytes.subarray(0, size));
      try {
        using file = Safetensors.open(path);
        for (const name of file.names) file.read(name);
      } catch (error) {
        assert.ok(error instanceof TritterError, String(error));
        refused += 1;
      }
    }
    assert.ok(refused > 200);
  }));
