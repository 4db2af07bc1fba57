import assert from "node:assert/strict";
import { test } from "node:test";
import {
  getThreads,
  info,
  PackedTernary,
  packTernaryWeights,
  QuantizationResult,
  quantizeAbsmean,
  type QuantizeConfig,
  setThreads,
  Tensor,
  unpackTernaryWeights,
} from "../mod.ts";
import {
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomFloats,
  randomTrits,
  type Shape,
  unaligned,
  wrong,
} from "./support.ts";

const TRITS = Int8Array.of(1, -1, 0, 1, 0, 1, -1, 1);
const SHAPE = [2, 4] as const;
const SCALES = Float32Array.of(0.425, 0.475);

/** Sizes around bytes, steps of sixteen columns and panels of sixteen rows. */
const SHAPES: Shape[] = [[1, 1], [2, 3], [3, 5], [15, 16], [17, 31], [33, 64], [65, 130], [
  5,
  1000,
]];

/** The wire format as the documentation states it. */
function wireBytes(trits: Int8Array, [rows, cols]: Shape): Uint8Array {
  const rowBytes = Math.ceil(cols / 4);
  const bytes = new Uint8Array(rows * rowBytes);
  for (let index = 0; index < trits.length; index++) {
    const col = index % cols;
    const code = { "0": 0, "1": 1, "-1": 2 }[String(trits[index])]!;
    bytes[Math.floor(index / cols) * rowBytes + Math.floor(col / 4)]! |= code << 2 * (col % 4);
  }
  return bytes;
}

test("packed bytes are the golden ones", () => {
  assertSame(packTernaryWeights(TRITS, SCALES, SHAPE).packed, [0x49, 0x64]);
  const nine = Int8Array.of(1, 0, -1, 1, -1, 0, 1, -1, 1);
  assertSame(packTernaryWeights(nine, Float32Array.of(1), [1, 9]).packed, [0x61, 0x92, 0x01]);
});

test("every shape packs to the wire format and back", () => {
  for (const shape of SHAPES) {
    const [rows, cols] = shape;
    const trits = randomTrits(rows * cols, cols);
    const scales = randomFloats(rows, 1);
    const bytes = wireBytes(trits, shape);
    const label = shape.join(" x ");
    const floats = Float32Array.from(trits);
    for (const ternary of [trits, floats, unaligned(trits), unaligned(floats)]) {
      const result = packTernaryWeights(ternary, unaligned(scales), shape);
      assertSame(result.packed, bytes, label);
      assertSame(result.scales, scales, label);
      assert.notEqual(result.scales, scales);
    }
    const weights = Float32Array.from(
      trits,
      (trit, index) => trit * scales[Math.floor(index / cols)]! + 0,
    );
    const unpacked = unpackTernaryWeights(unaligned(bytes), scales, shape);
    assertSame(unpacked.map((weight) => weight + 0), weights, label);
  }
});

test("packing and unpacking write where they are asked to, and only there", () => {
  const trits = randomTrits(3 * 1001, 5);
  const scales = Float32Array.of(0.5, -2, 1);
  const shape = [3, 1001] as const;
  const bytes = wireBytes(trits, shape);
  const weights = unpackTernaryWeights(bytes, scales, shape);
  onEveryTier((label) => {
    for (const ternary of [trits, unaligned(Float32Array.from(trits))]) {
      const room = new Uint8Array(bytes.length + 2).fill(0xee);
      const out = room.subarray(1, -1);
      const result = packTernaryWeights(ternary, scales, shape, { out });
      assert.equal(result.packed, out, label);
      assert.equal(result.scales, scales, label);
      assertSame(out, bytes, label);
      assert.deepEqual([room[0], room.at(-1)], [0xee, 0xee], label);
    }
    const room = new Float32Array(weights.length + 2).fill(7);
    const out = room.subarray(1, -1);
    assert.equal(unpackTernaryWeights(unaligned(bytes), scales, shape, { out }), out, label);
    assertSame(out, weights, label);
    assert.deepEqual([room[0], room.at(-1)], [7, 7], label);
  });
});

test("an output of the wrong type, size or place is refused", () => {
  const out = new Uint8Array(2);
  const pack = (options: unknown) => packTernaryWeights(TRITS, SCALES, SHAPE, wrong(options));
  const unpack = (options: unknown) => unpackTernaryWeights(out, SCALES, SHAPE, wrong(options));
  assertThrowsCode(() => pack({ out: new Uint8Array(3) }), "invalid_length", /out/);
  assertThrowsCode(() => pack({ out: new Int8Array(2) }), "invalid_type", /out/);
  assertThrowsCode(() => pack([]), "invalid_type", /options/);
  assertThrowsCode(() => unpack({ out: new Float32Array(7) }), "invalid_length", /out/);
  assertThrowsCode(() => unpack({ out: new Float64Array(8) }), "invalid_type", /out/);
  const shared = new Uint8Array(TRITS);
  const ternary = new Int8Array(shared.buffer);
  const inside = shared.subarray(6);
  assertThrowsCode(
    () => packTernaryWeights(ternary, SCALES, SHAPE, { out: inside }),
    "invalid_value",
    /overlaps/,
  );
  const weights = new Float32Array(8);
  const within = new Uint8Array(weights.buffer, 30, 2);
  assertThrowsCode(
    () => unpackTernaryWeights(within, SCALES, SHAPE, { out: weights }),
    "invalid_value",
    /overlaps/,
  );
});

test("large matrices pack as small ones do, on any number of threads", () => {
  for (const cols of [1024, 1021]) {
    const shape = [301, cols] as const;
    const trits = randomTrits(301 * cols, cols);
    const floats = Float32Array.from(trits);
    const scales = randomFloats(301, 1);
    const bytes = wireBytes(trits, shape);
    const before = getThreads();
    try {
      for (const count of [1, 2, 3]) {
        setThreads(count);
        assertSame(packTernaryWeights(floats, scales, shape).packed, bytes, `${count} threads`);
        assertSame(packTernaryWeights(trits, scales, shape).packed, bytes, `${count} threads`);
        using fromFloats = PackedTernary.fromTernary(floats, scales, shape);
        using fromBytes = PackedTernary.fromPackedBytes(bytes, scales, shape);
        assertSame(fromFloats.toTernary(), trits, `${count} threads`);
        assertSame(fromBytes.toPackedBytes(), bytes, `${count} threads`);
        floats[300 * cols + 77] = 0.5;
        const message = new RegExp(`\\b${300 * cols + 77}\\b`);
        for (
          const call of [
            () => packTernaryWeights(floats, scales, shape),
            () => PackedTernary.fromTernary(floats, scales, shape),
          ]
        ) assertThrowsCode(call, "invalid_value", message);
        floats[300 * cols + 77] = trits[300 * cols + 77]!;
      }
    } finally {
      setThreads(before);
    }
  }
});

test("weights quantised in place are those quantised first and packed then", () => {
  const configs: QuantizeConfig[] = [
    {},
    { scale: "leastSquares" },
    { method: "absmax" },
    { method: "twn" },
    { method: "percentile", percentile: 40 },
    { method: "meanStd", k: 0.1 },
    { method: "manual", threshold: 0.4 },
  ];
  for (const shape of [[1, 1], [3, 33], [31, 65], [65, 130], [5, 1000]] as Shape[]) {
    const weights = unaligned(randomFloats(shape[0] * shape[1], shape[1]));
    for (const base of configs) {
      for (const groupSize of [undefined, 1, shape[1] % 5 === 0 ? shape[1] / 5 : shape[1]]) {
        const config = { ...base, groupSize };
        const result = QuantizationResult.fromWeights(weights, shape, config);
        onEveryTier((label) => {
          using packed = PackedTernary.fromWeights(weights, shape, config);
          const where = `${label}, ${JSON.stringify(config)}, ${shape.join(" x ")}`;
          assertSame(packed.toTernary(), result.values, where);
          assertSame(packed.scales, result.scales, where);
          assert.equal(packed.groupSize, result.groupSize, where);
          const again = QuantizationResult.fromWeights(weights, shape, config);
          assertSame(again.values, result.values, where);
          assertSame(again.scales, result.scales, where);
        });
      }
    }
  }
});

test("weights that are not finite are refused by index, and nothing is kept", () => {
  const before = info();
  for (const bad of [NaN, Infinity, -Infinity]) {
    for (const index of [0, 65, 299]) {
      const weights = randomFloats(300, 1);
      weights[index] = bad;
      const message = new RegExp(`\\b${index}\\b`);
      for (
        const config of [{}, { method: "absmax" }, { method: "manual", threshold: 1 }] as const
      ) {
        assertThrowsCode(
          () => PackedTernary.fromWeights(weights, [3, 100], config),
          "invalid_value",
          message,
        );
      }
    }
  }
  assert.equal(info().handles, before.handles);
  assert.equal(info().allocatedBytes, before.allocatedBytes);
});

test("group scales stay exact", () => {
  const weights = randomFloats(6 * 48, 5);
  for (const groupSize of [1, 3, 16, 24, 48]) {
    const result = quantizeAbsmean(weights, [6, 48], { groupSize });
    const { packed, scales } = packTernaryWeights(result.values, result.scales, [6, 48]);
    assertSame(unpackTernaryWeights(packed, scales, [6, 48]), result.dequantize());
    using weightsPacked = PackedTernary.fromPackedBytes(packed, scales, [6, 48]);
    assert.equal(weightsPacked.groupSize, groupSize);
    assertSame(weightsPacked.toFloat32(), result.dequantize());
    assertSame(weightsPacked.scales, result.scales);
  }
});

test("PackedTernary gives back what it was made of", () => {
  for (const shape of SHAPES) {
    const [rows, cols] = shape;
    const trits = randomTrits(rows * cols, cols + 1);
    const scales = randomFloats(rows, 2);
    const bytes = wireBytes(trits, shape);
    const label = shape.join(" x ");
    using fromTrits = PackedTernary.fromTernary(unaligned(trits), scales, shape);
    using fromFloats = PackedTernary.fromTernary(Float32Array.from(trits), scales, shape);
    using fromBytes = PackedTernary.fromPackedBytes(unaligned(bytes), scales, shape);
    for (const packed of [fromTrits, fromFloats, fromBytes]) {
      assert.deepEqual(packed.shape, [rows, cols]);
      assert.equal(packed.groupSize, cols);
      assertSame(packed.toTernary(), trits, label);
      assertSame(packed.toPackedBytes(), bytes, label);
      assertSame(packed.scales, scales, label);
      const zeros = trits.filter((trit) => trit === 0).length;
      assert.ok(Math.abs(packed.sparsity - zeros / trits.length) < 1e-12, label);
    }
  }
});

test("scales are a copy", () => {
  const scales = Float32Array.of(1, 2);
  using packed = PackedTernary.fromTernary(TRITS, scales, SHAPE);
  scales[0] = 9;
  packed.scales[1] = 9;
  assertSame(packed.scales, [1, 2]);
});

test("memory is two bits a weight and four bytes a scale, for wide rows", () => {
  const shape = [1024, 4096] as const;
  const [rows, cols] = shape;
  const trits = randomTrits(rows * cols, 3);
  // 32 bits over 2 bits and a share of a 32-bit scale; a fixed header is allowed for.
  for (const groupSize of [64, 128, 256, cols]) {
    const scales = new Float32Array(rows * cols / groupSize).fill(1);
    using packed = PackedTernary.fromTernary(trits, scales, shape);
    const ideal = 32 / (2 + 32 / groupSize);
    assert.ok(packed.compressionRatio <= ideal);
    assert.ok(packed.compressionRatio > 0.999 * ideal, `${packed.compressionRatio} of ${ideal}`);
    if (groupSize === 64) assert.equal(packed.compressionRatio.toFixed(1), "12.8");
  }
});

test("disposed weights refuse every use and free their memory", () => {
  const before = info();
  const packed = PackedTernary.fromTernary(TRITS, SCALES, SHAPE);
  assert.equal(info().handles, before.handles + 1);
  packed[Symbol.dispose]();
  packed[Symbol.dispose]();
  assert.equal(info().handles, before.handles);
  assert.equal(info().allocatedBytes, before.allocatedBytes);
  assertThrowsCode(() => packed.matmul(new Float32Array(4)), "disposed");
  assertThrowsCode(() => packed.toTernary(), "disposed");
  assertThrowsCode(() => packed.toPackedBytes(), "disposed");
  assertThrowsCode(() => packed.toFloat32(), "disposed");
  assertThrowsCode(() => packed.scales, "disposed");
  assert.deepEqual(packed.shape, [2, 4]);
});

test("values other than -1, 0 and 1 are refused by index", () => {
  for (const bad of [2, -2, 127, -128]) {
    for (const index of [0, 70, 129]) {
      const trits = new Int8Array(130);
      trits[index] = bad;
      const message = new RegExp(`\\b${index}\\b`);
      const scales = Float32Array.of(1);
      assertThrowsCode(() => packTernaryWeights(trits, scales, [1, 130]), "invalid_value", message);
      assertThrowsCode(
        () => PackedTernary.fromTernary(trits, scales, [1, 130]),
        "invalid_value",
        message,
      );
    }
  }
  for (const bad of [0.9, 1.9, 7, -1.0000001, NaN, Infinity]) {
    const floats = new Float32Array(130);
    floats[67] = bad;
    const scales = Float32Array.of(1, 1);
    assertThrowsCode(() => packTernaryWeights(floats, scales, [2, 65]), "invalid_value", /\b67\b/);
    assertThrowsCode(
      () => PackedTernary.fromTernary(floats, scales, [2, 65]),
      "invalid_value",
      /\b67\b/,
    );
  }
});

test("the code 11 is refused by index, except in padding", () => {
  const scales = Float32Array.of(1, 1);
  for (let col = 0; col < 33; col++) {
    const bytes = new Uint8Array(2 * 9);
    bytes[9 + Math.floor(col / 4)] = 3 << 2 * (col % 4);
    const message = new RegExp(`\\b${33 + col}\\b`);
    for (
      const call of [
        () => unpackTernaryWeights(bytes, scales, [2, 33]),
        () => PackedTernary.fromPackedBytes(bytes, scales, [2, 33]),
      ]
    ) assertThrowsCode(call, "invalid_value", message);
  }
  const padded = new Uint8Array(18);
  padded.fill(0xfc, 8, 9).fill(0xfc, 17, 18);
  assertSame(unpackTernaryWeights(padded, scales, [2, 33]), new Float32Array(66));
  using packed = PackedTernary.fromPackedBytes(padded, scales, [2, 33]);
  assertSame(packed.toPackedBytes(), new Uint8Array(18));
});

test("bad scales are refused", () => {
  for (
    const call of [
      (scales: Float32Array) => packTernaryWeights(TRITS, scales, SHAPE),
      (scales: Float32Array) => unpackTernaryWeights(new Uint8Array(2), scales, SHAPE),
      (scales: Float32Array) => PackedTernary.fromTernary(TRITS, scales, SHAPE),
      (scales: Float32Array) => PackedTernary.fromPackedBytes(new Uint8Array(2), scales, SHAPE),
    ]
  ) {
    for (const length of [0, 1, 3, 6, 16]) {
      assertThrowsCode(() => call(new Float32Array(length)), "invalid_length", /scales/);
    }
    assertThrowsCode(() => call(wrong([1, 1])), "invalid_type");
    assertThrowsCode(() => call(Float32Array.of(1, NaN)), "invalid_value", /\b1\b/);
    assertThrowsCode(() => call(Float32Array.of(Infinity, 1)), "invalid_value", /\b0\b/);
  }
});

test("wrong lengths, shapes and types are refused", () => {
  assertThrowsCode(() => packTernaryWeights(TRITS, SCALES, [2, 5]), "invalid_length");
  assertThrowsCode(() => packTernaryWeights(wrong([1]), SCALES, SHAPE), "invalid_type");
  assertThrowsCode(() => packTernaryWeights(TRITS, SCALES, wrong([2])), "invalid_shape");
  assertThrowsCode(() => packTernaryWeights(TRITS, SCALES, [2, 0]), "invalid_shape");
  assertThrowsCode(() => unpackTernaryWeights(new Uint8Array(3), SCALES, SHAPE), "invalid_length");
  assertThrowsCode(() => unpackTernaryWeights(wrong(TRITS), SCALES, SHAPE), "invalid_type");
  assertThrowsCode(() => PackedTernary.fromTernary(TRITS, SCALES, [2, 5]), "invalid_length");
  assertThrowsCode(
    () => PackedTernary.fromPackedBytes(new Uint8Array(1), SCALES, SHAPE),
    "invalid_length",
  );
  assertThrowsCode(
    () => PackedTernary.fromWeights(randomFloats(8, 1), SHAPE, { groupSize: 3 }),
    "invalid_option",
  );
});

test("a tensor with two axes keeps its own shape", () => {
  const weights = randomFloats(8, 1);
  const tensor = Tensor.from(weights, SHAPE);
  using expected = PackedTernary.fromWeights(weights, SHAPE, { groupSize: 2 });
  for (const shape of [undefined, SHAPE]) {
    using packed = PackedTernary.fromWeights(tensor, shape, { groupSize: 2, device: undefined });
    assert.deepEqual(packed.shape, [2, 4]);
    assertSame(packed.toFloat32(), expected.toFloat32());
  }
  using reread = PackedTernary.fromTernary(TRITS, SCALES, SHAPE, { device: undefined });
  assertSame(reread.toTernary(), TRITS);
  assertThrowsCode(() => PackedTernary.fromWeights(tensor, [4, 2]), "invalid_shape");
  const cube = Tensor.from(weights, [2, 2, 2]);
  assertThrowsCode(() => PackedTernary.fromWeights(cube), "invalid_shape", /\[2, 2, 2\]/);
});

test("the constructor of packed weights is not for callers", () => {
  const { constructor } = wrong(PackedTernary.prototype);
  for (const args of [[], [1n], [Symbol("PackedTernary"), 1n], [null, null]]) {
    assertThrowsCode(() => new constructor(...args), "invalid_type", /PackedTernary is made by/);
  }
});
