import assert from "node:assert/strict";
import { test } from "node:test";
import {
  info,
  matmul,
  PackedTernary,
  packTernaryWeights,
  quantizeAbsmean,
  quantizeWeightsAbsmean,
  Tensor,
  ternaryMatmul,
} from "../mod.ts";
import {
  assertNear,
  assertSame,
  assertThrowsCode,
  onEveryTier,
  productF64,
  productInt8,
  randomFloats,
  randomTrits,
  type Shape,
  unaligned,
  wrong,
} from "./support.ts";

interface Case {
  label: string;
  shape: Shape;
  input: Float32Array;
  trits: Int8Array;
  scales: Float32Array;
  bias: Float32Array;
}

let cases = 0;

function makeCase(batch: number, shape: Shape, groupSize = shape[1]): Case {
  const [rows, cols] = shape;
  const seed = ++cases;
  return {
    label: `${batch} x ${cols} by ${rows} rows, groups of ${groupSize}`,
    shape,
    input: randomFloats(batch * cols, seed),
    trits: randomTrits(rows * cols, seed + 1000),
    scales: randomFloats(rows * cols / groupSize, seed + 2000),
    bias: randomFloats(rows, seed + 3000),
  };
}

/** Every size meets every other once as rows, columns and batch, without all their products. */
function casesOfSizes(): Case[] {
  const sizes = [1, 3, 31, 33, 64, 1000];
  const batches = [1, 2, 3, 5, 33];
  const result: Case[] = [];
  sizes.forEach((rows, first) => {
    sizes.forEach((cols, second) => {
      const batch = batches[(first + second) % batches.length]!;
      if (rows * cols * batch < 2_000_000) result.push(makeCase(batch, [rows, cols]));
    });
  });
  for (const batch of batches) result.push(makeCase(batch, [65, 130]));
  // Enough work to be cut into pieces for two threads.
  result.push(makeCase(3, [1000, 1000]));
  return result;
}

function casesOfGroups(): Case[] {
  const result: Case[] = [];
  for (const groupSize of [1, 3, 5, 16, 48, 64, 240, 480]) {
    for (const batch of [1, 3, 7]) {
      const cols = groupSize === 64 ? 192 : 480;
      result.push(makeCase(batch, [35, cols], groupSize));
    }
  }
  return result;
}

/**
 * What float32 sums may be off by. Up to 512 columns are summed in pairs (or 432 in triples, which
 * are fewer but rounded twice), 257 roundings one after another, then each run is scaled and added;
 * and never more than the promised 1e-5.
 */
function roundingBound({ shape: [rows, cols], scales }: Case): number {
  const groups = scales.length / rows;
  const runs = groups * Math.ceil(cols / groups / 432);
  return Math.min(1e-5, (258 + runs) * 2 ** -24);
}

function assertF32(output: Float32Array, one: Case, withBias: boolean, label: string): void {
  const { values, magnitudes } = productF64(one.input, one.trits, one.scales, one.shape);
  const rows = one.shape[0];
  const bias = (index: number) => withBias ? one.bias[index % rows]! : 0;
  const expected = values.map((value, index) => value + bias(index));
  const bound = roundingBound(one);
  const tolerance = (index: number) =>
    bound * magnitudes[index]! + 2 ** -24 * Math.abs(expected[index]!);
  assertNear(output, expected, tolerance, label);
}

test("a layout holds the same weights in its own number of bits, and serves what it says", () => {
  const one = makeCase(2, [130, 720]);
  one.scales.fill(0.5);
  using planes = PackedTernary.fromTernary(one.trits, one.scales, one.shape);
  assert.equal(planes.layout, "planes");
  const overhead = planes.memoryBytes - 144 * 720 / 4;
  for (const [layout, columns] of [["base3", 20], ["triples", 18]] as const) {
    const made = [
      PackedTernary.fromTernary(one.trits, one.scales, one.shape, { layout }),
      PackedTernary.fromPackedBytes(planes.toPackedBytes(), one.scales, one.shape, { layout }),
      quantizeAbsmean(planes.toFloat32(), [130, 720]).toPacked({ layout }),
    ];
    for (const packed of made) {
      using weights = packed;
      assert.equal(weights.layout, layout);
      assert.equal(weights.memoryBytes, 144 * 720 * 4 / columns + overhead);
      assert.equal(weights.sparsity, planes.sparsity);
      assertSame(weights.toTernary(), one.trits);
      assertSame(weights.toPackedBytes(), planes.toPackedBytes());
      const served = layout === "base3" ? "int8" : "f32";
      const refused = layout === "base3" ? "f32" : "int8";
      // What the layout serves is also what is done when nothing is asked for.
      assertSame(weights.matmul(one.input), weights.matmul(one.input, { activations: served }));
      assertThrowsCode(
        () => weights.matmul(one.input, { activations: refused }),
        "invalid_option",
        /layout/,
      );
    }
  }
  const layout = wrong("rows");
  assertThrowsCode(
    () => PackedTernary.fromTernary(one.trits, one.scales, one.shape, { layout }),
    "invalid_option",
    /layout/,
  );
});

test("products are the golden ones", () => {
  const weights = Float32Array.of(0.5, -0.3, 0.1, 0.8, -0.2, 0.6, -0.7, 0.4);
  const { ternary, scales } = quantizeWeightsAbsmean(weights, [2, 4]);
  const { packed } = packTernaryWeights(ternary, scales, [2, 4]);
  const input = Float32Array.of(1, 2, 3, 4);
  // Small integers times a scale: one rounding.
  assertNear(ternaryMatmul(input, packed, scales, [2, 4]), [1.275, 1.425], 2 ** -23);
  using signs = PackedTernary.fromTernary(
    Int8Array.of(1, -1, 1, -1, 1, 1, 0, 0),
    Float32Array.of(1, 1),
    [2, 4],
  );
  assertSame(signs.matmul(input), [-2, 3]);
  assertSame(matmul(input, signs), [-2, 3]);
});

for (const layout of ["planes", "triples"] as const) {
  test(`f32 products of ${layout} are right at every size, and the same on every tier`, () => {
    for (const one of [...casesOfSizes(), ...casesOfGroups()]) {
      using packed = PackedTernary.fromTernary(one.trits, one.scales, one.shape, { layout });
      const plain = packed.matmul(one.input);
      const biased = packed.matmul(one.input, { bias: one.bias });
      assertF32(plain, one, false, one.label);
      assertF32(biased, one, true, one.label);
      onEveryTier((tier) => {
        const label = `${one.label}, ${tier}`;
        assertSame(packed.matmul(one.input), plain, label);
        assertSame(packed.matmul(one.input, { bias: one.bias }), biased, label);
      });
    }
  });
}

for (const layout of ["planes", "base3"] as const) {
  test(`int8 products of ${layout} are exact at every size, on every tier`, () => {
    for (const one of [...casesOfSizes(), ...casesOfGroups()]) {
      using packed = PackedTernary.fromTernary(one.trits, one.scales, one.shape, { layout });
      const plain = productInt8(one.input, one.trits, one.scales, one.shape);
      const biased = productInt8(one.input, one.trits, one.scales, one.shape, one.bias);
      const activations = "int8";
      onEveryTier((tier) => {
        const label = `${one.label}, ${tier}`;
        assertSame(packed.matmul(one.input, { activations }), plain, label);
        assertSame(packed.matmul(one.input, { activations, bias: one.bias }), biased, label);
      });
    }
  });
}

test("int8 products round ties to even", () => {
  const identity = Int8Array.from({ length: 36 }, (_, index) => index % 7 === 0 ? 1 : 0);
  using packed = PackedTernary.fromTernary(identity, new Float32Array(6).fill(1), [6, 6]);
  // The largest magnitude is 127, so the scale is 1.
  const input = Float32Array.of(127, 0.5, 1.5, 2.5, -0.5, -1.5);
  onEveryTier((tier) => {
    assertSame(packed.matmul(input, { activations: "int8" }), [127, 0, 2, 2, 0, -2], tier);
  });
});

test("the function gives what the packed weights give", () => {
  for (const [batch, groupSize] of [[1, 130], [3, 13], [5, 130]] as const) {
    const one = makeCase(batch, [65, 130], groupSize);
    const { packed: bytes } = packTernaryWeights(one.trits, one.scales, one.shape);
    using packed = PackedTernary.fromTernary(one.trits, one.scales, one.shape);
    for (const activations of ["f32", "int8"] as const) {
      for (const bias of [undefined, one.bias]) {
        const expected = packed.matmul(one.input, { activations, bias });
        const out = new Float32Array(expected.length).fill(NaN);
        const options = { activations, bias, out };
        assert.equal(ternaryMatmul(one.input, bytes, one.scales, one.shape, options), out);
        assertSame(out, expected, one.label);
      }
    }
  }
});

test("unaligned views multiply as aligned ones do", () => {
  const one = makeCase(3, [33, 70]);
  using packed = PackedTernary.fromTernary(one.trits, one.scales, one.shape);
  for (const activations of ["f32", "int8"] as const) {
    const expected = packed.matmul(one.input, { activations, bias: one.bias });
    const out = unaligned(new Float32Array(expected.length));
    packed.matmul(unaligned(one.input), { activations, bias: unaligned(one.bias), out });
    assertSame(out, expected, activations);
  }
});

test("out is written, returned, and all of it", () => {
  const one = makeCase(2, [17, 40]);
  using packed = PackedTernary.fromTernary(one.trits, one.scales, one.shape);
  const buffer = new Float32Array(2 + 34 + 2).fill(7);
  const out = buffer.subarray(2, 36);
  for (const activations of ["f32", "int8"] as const) {
    const expected = packed.matmul(one.input, { activations });
    out.fill(NaN);
    assert.equal(packed.matmul(one.input, { activations, out }), out);
    assertSame(out, expected);
    assertSame([buffer[0]!, buffer[1]!, buffer[36]!, buffer[37]!], [7, 7, 7, 7]);
  }
});

test("out that overlaps the input or the bias is refused", () => {
  using packed = PackedTernary.fromTernary(new Int8Array(64 * 64), new Float32Array(64), [64, 64]);
  const buffer = new Float32Array(127);
  const input = buffer.subarray(0, 64);
  for (const activations of ["f32", "int8"] as const) {
    const bias = new Float32Array(64);
    assertThrowsCode(
      () => packed.matmul(input, { activations, bias, out: bias }),
      "invalid_value",
      /overlap/,
    );
    for (const out of [input, buffer.subarray(63), buffer.subarray(1, 65)]) {
      assertThrowsCode(
        () => packed.matmul(input, { activations, out }),
        "invalid_value",
        /overlap/,
      );
    }
  }
});

test("zeros give zeros or the bias", () => {
  const bias = Float32Array.of(1, -2, 3);
  using zeroWeights = PackedTernary.fromTernary(new Int8Array(3 * 50), bias, [3, 50]);
  using ones = PackedTernary.fromTernary(new Int8Array(3 * 50).fill(1), bias, [3, 50]);
  for (const activations of ["f32", "int8"] as const) {
    for (
      const [packed, input] of [[zeroWeights, randomFloats(50, 1)], [
        ones,
        new Float32Array(50),
      ]] as const
    ) {
      assertNear(packed.matmul(input, { activations }), [0, 0, 0], 0);
      assertSame(packed.matmul(input, { activations, bias }), bias);
    }
  }
});

test("tiny and huge activations keep their digits", () => {
  for (const magnitude of [1e-40, 1e-30, 1e30, 1e36]) {
    const one = makeCase(3, [33, 100]);
    one.input = one.input.map((value) => value * magnitude);
    using packed = PackedTernary.fromTernary(one.trits, one.scales, one.shape);
    const { values, magnitudes } = productF64(one.input, one.trits, one.scales, one.shape);
    // Besides the relative error, scaling a sum may round it to a multiple of 2^-149.
    const bound = roundingBound(one);
    const tolerance = (index: number) => bound * magnitudes[index]! + 2 ** -149;
    assertNear(packed.matmul(one.input), values, tolerance, `f32 x ${magnitude}`);
    const exact = productInt8(one.input, one.trits, one.scales, one.shape);
    assertSame(packed.matmul(one.input, { activations: "int8" }), exact, `int8 x ${magnitude}`);
  }
  using two = PackedTernary.fromTernary(Int8Array.of(1, -1, 1, 1), Float32Array.of(0.5, 1), [2, 2]);
  const largest = Float32Array.of(1e38, 1e38);
  assertSame(two.matmul(largest), [0, Math.fround(2 * Math.fround(1e38))]);
});

test("one token may dwarf another", () => {
  const one = makeCase(4, [20, 64]);
  one.input.subarray(64, 128).fill(1e30);
  one.input.subarray(128, 192).fill(0);
  using packed = PackedTernary.fromTernary(one.trits, one.scales, one.shape);
  const exact = productInt8(one.input, one.trits, one.scales, one.shape);
  assertSame(packed.matmul(one.input, { activations: "int8" }), exact);
  assertF32(packed.matmul(one.input), one, false, one.label);
});

test("a token that is not finite spoils its own outputs only", () => {
  const one = makeCase(5, [33, 70]);
  using packed = PackedTernary.fromTernary(one.trits, one.scales, one.shape);
  const clean = packed.matmul(one.input, { bias: one.bias });
  for (const bad of [NaN, Infinity, -Infinity]) {
    for (const col of [0, 17, 69]) {
      const input = one.input.slice();
      input[2 * 70 + col] = bad;
      const expected = clean.slice().fill(NaN, 2 * 33, 3 * 33);
      onEveryTier((tier) => {
        assertSame(packed.matmul(input, { bias: one.bias }), expected, `${bad}, ${tier}`);
      });
      assertThrowsCode(
        () => packed.matmul(input, { activations: "int8" }),
        "invalid_value",
        new RegExp(`\\b${2 * 70 + col}\\b`),
      );
    }
  }
  // Even where every weight is zero.
  using zeros = PackedTernary.fromTernary(new Int8Array(6), Float32Array.of(1, 1), [2, 3]);
  assertSame(zeros.matmul(Float32Array.of(1, NaN, 2)), [NaN, NaN]);
});

test("tensors keep their leading axes", () => {
  const one = makeCase(6, [5, 12]);
  using packed = PackedTernary.fromTernary(one.trits, one.scales, one.shape);
  const expected = packed.matmul(one.input);
  for (const lead of [[6], [2, 3], [1, 3, 2], [1, 1, 1, 6]]) {
    const output = packed.matmul(Tensor.from(one.input, [...lead, 12]));
    assert.deepEqual(output.shape, [...lead, 5]);
    assert.equal(output.dtype, "f32");
    assertSame(output.data(), expected);
    assertSame(matmul(Tensor.from(one.input, [...lead, 12]), packed).data(), expected);
  }
  const vector = matmul(Tensor.from(one.input.slice(0, 12), [12]), packed);
  assert.deepEqual(vector.shape, [5]);
  const out = new Float32Array(30);
  assert.equal(packed.matmul(Tensor.from(one.input, [6, 12]), { out }).data(), out);
});

test("a value that is an array or a tensor type-checks, and a bias may be a tensor", () => {
  const one = makeCase(2, [5, 12]);
  using packed = PackedTernary.fromTernary(one.trits, one.scales, one.shape);
  const { packed: bytes } = packTernaryWeights(one.trits, one.scales, one.shape);
  const bias = Tensor.from(one.bias, [5]);
  const expected = packed.matmul(one.input, { bias: one.bias });
  const inputs: (Float32Array | Tensor)[] = [one.input, Tensor.from(one.input, [2, 12])];
  for (const input of inputs) {
    const output = matmul(input, packed, { bias, device: undefined });
    assertSame(output instanceof Tensor ? output.data() : output, expected);
  }
  assertSame(ternaryMatmul(one.input, bytes, one.scales, one.shape, { bias }), expected);
  for (const bad of [Tensor.from(new Float32Array(4), [4]), new Float32Array(4)]) {
    assertThrowsCode(() => packed.matmul(one.input, { bias: bad }), "invalid_length");
  }
  const bytesAsBias = Tensor.from(new Int8Array(5), [5]);
  assertThrowsCode(() => packed.matmul(one.input, { bias: bytesAsBias }), "invalid_type");
});

test("weights that are not packed yet get a hint", () => {
  const weights = randomFloats(8, 1);
  const result = quantizeAbsmean(weights, [2, 4]);
  const input = new Float32Array(4);
  assertThrowsCode(() => matmul(input, wrong(result)), "invalid_type", /toPacked\(\)/);
  const tensor = Tensor.from(weights, [2, 4]);
  assertThrowsCode(() => matmul(input, wrong(tensor)), "invalid_type", /fromWeights/);
  assertThrowsCode(() => matmul(input, wrong(weights)), "invalid_type", /got Float32Array/);
});

test("a tensor whose buffer went away is refused", () => {
  using packed = PackedTernary.fromTernary(new Int8Array(8), new Float32Array(2), [2, 4]);
  const floats = new Float32Array(4);
  const tensor = Tensor.from(floats, [1, 4]);
  structuredClone(floats.buffer, { transfer: [floats.buffer] });
  assertThrowsCode(() => packed.matmul(tensor), "invalid_value", /detached/);
});

test("bad arguments are refused", () => {
  const one = makeCase(2, [3, 8]);
  const { packed: bytes } = packTernaryWeights(one.trits, one.scales, one.shape);
  using packed = PackedTernary.fromTernary(one.trits, one.scales, one.shape);
  const calls = [
    (input: unknown, options?: unknown) => packed.matmul(wrong(input), wrong(options)),
    (input: unknown, options?: unknown) => matmul(wrong(input), packed, wrong(options)),
    (input: unknown, options?: unknown) =>
      ternaryMatmul(wrong(input), bytes, one.scales, one.shape, wrong(options)),
  ];
  for (const call of calls) {
    assertThrowsCode(() => call(new Float32Array(0)), "invalid_length", /multiple of 8/);
    assertThrowsCode(() => call(new Float32Array(15)), "invalid_length");
    assertThrowsCode(() => call(new Float32Array(4)), "invalid_length");
    assertThrowsCode(() => call(new Float64Array(8)), "invalid_type");
    assertThrowsCode(() => call([1, 2, 3, 4, 5, 6, 7, 8]), "invalid_type");
    assertThrowsCode(() => call(null), "invalid_type");
    assertThrowsCode(() => call(one.input, null), "invalid_type");
    assertThrowsCode(() => call(one.input, { activations: "int4" }), "invalid_option");
    assertThrowsCode(() => call(one.input, { bias: new Float32Array(2) }), "invalid_length");
    assertThrowsCode(() => call(one.input, { bias: [1, 2, 3] }), "invalid_type");
    assertThrowsCode(() => call(one.input, { out: new Float32Array(5) }), "invalid_length");
    assertThrowsCode(() => call(one.input, { out: new Float64Array(6) }), "invalid_type");
    assertThrowsCode(() => call(one.input, { device: "tpu" }), "invalid_option");
  }
  assertThrowsCode(() => packed.matmul(Tensor.from(new Float32Array(16), [8, 2])), "invalid_shape");
  assertThrowsCode(() => packed.matmul(Tensor.from(new Int8Array(8), [8])), "invalid_type");
  assertThrowsCode(() => matmul(one.input, wrong({})), "invalid_type");
  assertThrowsCode(
    () => ternaryMatmul(one.input, bytes.subarray(1), one.scales, one.shape),
    "invalid_length",
  );
  const elevens = bytes.slice().fill(0xff);
  assertThrowsCode(() => ternaryMatmul(one.input, elevens, one.scales, one.shape), "invalid_value");
});

test("a product leaves no native memory behind", () => {
  const one = makeCase(3, [65, 130]);
  const { packed: bytes } = packTernaryWeights(one.trits, one.scales, one.shape);
  const before = info().handles;
  for (let round = 0; round < 100; round++) {
    ternaryMatmul(one.input, bytes, one.scales, one.shape, { activations: "int8" });
  }
  assert.equal(info().handles, before);
});
