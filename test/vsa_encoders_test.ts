import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type BindMode,
  CategoricalEncoder,
  CircularEncoder,
  type Distribution,
  Hypervector,
  HypervectorBatch,
  LevelEncoder,
  NgramEncoder,
  ProjectionEncoder,
  type SymbolText,
  ThermometerEncoder,
} from "../mod.ts";
import {
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomFloats,
  seeded,
  wrong,
} from "./support.ts";
import { assertTrits, DIMS, drawn, ngramsOf, signsOf, TIES } from "./vsa_reference.ts";

/** Five standard deviations of the cosine of unrelated vectors. */
const sampling = (dim: number) => 5 / Math.sqrt(dim);

describe("LevelEncoder", () => {
  const DIM = 10_000;

  it("similarity falls linearly with distance", () => {
    for (const distribution of ["bipolar", "ternary", { zeros: 0.5 }] as const) {
      using encoder = new LevelEncoder(DIM, {
        min: -10,
        max: 30,
        levels: 21,
        seed: 5,
        distribution,
      });
      // Of the trits that are not zero there are fewer.
      const nonzero = distribution === "bipolar" ? 1 : distribution === "ternary" ? 2 / 3 : 1 / 2;
      for (let a = -10; a <= 30; a += 2) {
        using x = encoder.encode(a);
        for (let b = a; b <= 30; b += 4) {
          const expected = 1 - (b - a) / 40;
          const cosine = x.cosine(encoder.encode(b));
          assert.ok(
            Math.abs(cosine - expected) <= sampling(DIM * nonzero),
            `${a}, ${b}: ${cosine}`,
          );
        }
      }
    }
  });

  it("ends in the random vectors of its seed, and differs by equal shares", () => {
    using encoder = new LevelEncoder(1000, { levels: 11, seed: 3 });
    using ends = HypervectorBatch.random(2, 1000, 3, { distribution: "bipolar" });
    assert.ok(encoder.encode(0).equals(ends.get(0)));
    assert.ok(encoder.encode(1).equals(ends.get(1)));
    const total = ends.get(0).hamming(ends.get(1));
    let sum = 0;
    for (let level = 0; level < 10; level++) {
      sum += encoder.encode(level / 10).hamming(encoder.encode((level + 1) / 10));
    }
    assert.equal(sum, total, "no dimension changes twice");
  });

  it("rounds to levels, and takes what is beyond the bounds for the bounds", () => {
    using encoder = new LevelEncoder(100, { min: 0, max: 10, levels: 11 });
    assert.ok(encoder.encode(3.4).equals(encoder.encode(3)));
    assert.ok(encoder.encode(-Infinity).equals(encoder.encode(0)));
    assert.ok(encoder.encode(1e300).equals(encoder.encode(10)));
    for (let level = 0; level <= 10; level++) {
      assert.equal(encoder.decode(encoder.encode(level)), level);
    }
  });

  it("encodes lists as it encodes values, into vectors that are given", () => {
    using encoder = new LevelEncoder(513, { levels: 7 });
    const values = Float64Array.of(0.9, 0, 0.31, 0.9);
    using batch = encoder.encodeAll(values);
    using out = new HypervectorBatch(4, 513);
    assert.equal(encoder.encodeAll([...values], { out }), out);
    assert.ok(out.equals(batch));
    values.forEach((value, row) => assert.ok(batch.get(row).equals(encoder.encode(value))));
    using single = new Hypervector(513);
    assert.equal(encoder.encode(0.31, { out: single }), single);
    assert.ok(single.equals(batch.get(2)));
  });

  it("refuses what is no number and what is no range", () => {
    using encoder = new LevelEncoder(100);
    assertThrowsCode(() => encoder.encode(NaN), "invalid_value", /value must be/);
    assertThrowsCode(() => encoder.encode(wrong("1")), "invalid_type", /value must be a number/);
    assertThrowsCode(() => encoder.encodeAll([0, NaN]), "invalid_value", /values\[1\]/);
    assertThrowsCode(() => encoder.encodeAll([]), "invalid_value", /values must be a list/);
    assertThrowsCode(() => encoder.encodeAll(wrong(3)), "invalid_value", /values must be a list/);
    assertThrowsCode(() => encoder.encode(1, { out: new Hypervector(99) }), "invalid_shape");
    const out = new HypervectorBatch(2, 100);
    assertThrowsCode(() => encoder.encodeAll([1], { out }), "invalid_shape", /out must be 1/);
    assertThrowsCode(() => encoder.decode(new Hypervector(99)), "invalid_shape");
    assertThrowsCode(() => new LevelEncoder(100, { min: 1, max: 1 }), "invalid_value", /max/);
    assertThrowsCode(() => new LevelEncoder(100, { min: -1e308, max: 1e308 }), "invalid_value");
    assertThrowsCode(() => new LevelEncoder(100, { levels: 1 }), "invalid_value", /levels/);
    assertThrowsCode(() => new LevelEncoder(100, { levels: 2 ** 17 }), "invalid_value", /levels/);
    assertThrowsCode(() => new LevelEncoder(0), "invalid_value", /dim/);
    assertThrowsCode(() => new LevelEncoder(2 ** 24 + 1), "invalid_value", /dim/);
    assertThrowsCode(() => new LevelEncoder(10, { seed: -1 }), "invalid_value", /seed/);
    assertThrowsCode(() => new LevelEncoder(10, wrong(5)), "invalid_type", /options/);
    encoder[Symbol.dispose]();
    assertThrowsCode(() => encoder.encode(0), "disposed");
  });
});

describe("ThermometerEncoder", () => {
  it("fills up, one share after the other", () => {
    using encoder = new ThermometerEncoder(1001, { min: 0, max: 9, levels: 10 });
    let before = -1;
    for (let level = 0; level <= 9; level++) {
      const trits = encoder.encode(level).toInt8Array();
      const ones = Math.round(level / 9 * 1001);
      assertSame(trits, Int8Array.from({ length: 1001 }, (_, place) => place < ones ? 1 : -1));
      assert.ok(ones > before);
      before = ones;
    }
  });

  it("similarity falls linearly, to within one dimension at each end", () => {
    using encoder = new ThermometerEncoder(1001, { levels: 8 });
    for (let a = 0; a < 8; a++) {
      for (let b = 0; b < 8; b++) {
        const cosine = encoder.encode(a / 7).cosine(encoder.encode(b / 7));
        assert.ok(Math.abs(cosine - (1 - 2 * Math.abs(a - b) / 7)) <= 2 / 1001);
      }
    }
  });
});

describe("CircularEncoder", () => {
  it("similarity falls with the shorter way round", () => {
    const DIM = 10_000;
    for (const levels of [24, 25]) {
      using encoder = new CircularEncoder(DIM, { period: levels, levels, seed: 1 });
      using all = encoder.encodeAll(Array.from({ length: levels }, (_, level) => level));
      for (let a = 0; a < levels; a++) {
        const cosines = all.similarity(all.get(a));
        for (let b = 0; b < levels; b++) {
          const way = Math.min(Math.abs(a - b), levels - Math.abs(a - b));
          const expected = 1 - 2 * way / levels;
          assert.ok(Math.abs(cosines[b]! - expected) <= sampling(DIM), `${a}, ${b}`);
        }
      }
    }
  });

  it("comes round again", () => {
    using encoder = new CircularEncoder(1000, { period: 360, levels: 36 });
    for (const angle of [0, 10, 123, 355, 359.9]) {
      using vector = encoder.encode(angle);
      for (const turns of [-1000, -1, 1, 7]) {
        assert.ok(encoder.encode(angle + 360 * turns).equals(vector));
      }
    }
    assert.ok(encoder.encode(-1e-300).equals(encoder.encode(0)));
    assert.equal(encoder.decode(encoder.encode(350)), 350);
  });

  it("refuses infinities and a period that is none", () => {
    using encoder = new CircularEncoder(100);
    assertThrowsCode(() => encoder.encode(Infinity), "invalid_value", /value must be a finite/);
    assertThrowsCode(() => new CircularEncoder(100, { period: 0 }), "invalid_value", /period/);
    assertThrowsCode(() => new CircularEncoder(100, { levels: 1 }), "invalid_value", /levels/);
  });
});

describe("CategoricalEncoder", () => {
  const names = ["red", "green", "blue", ""];

  it("gives each name a random vector", () => {
    using encoder = new CategoricalEncoder(1000, names, { seed: 9, distribution: "ternary" });
    using expected = HypervectorBatch.random(4, 1000, 9);
    assert.ok(encoder.encodeAll(names).equals(expected));
    names.forEach((name) => assert.equal(encoder.decode(encoder.encode(name)), name));
  });

  it("refuses other names and lists with a name twice", () => {
    using encoder = new CategoricalEncoder(100, names);
    assertThrowsCode(
      () => encoder.encode("pink"),
      "invalid_value",
      /one of the 4 names, got "pink"/,
    );
    assertThrowsCode(() => encoder.encode(wrong(1)), "invalid_value");
    assertThrowsCode(() => new CategoricalEncoder(100, ["a", "a"]), "invalid_value", /twice/);
    assertThrowsCode(() => new CategoricalEncoder(100, []), "invalid_value", /names/);
    assertThrowsCode(() => new CategoricalEncoder(100, wrong([1])), "invalid_type", /names/);
  });
});

/** A random matrix times lists of features, in float64. */
function productsOf(
  input: Float32Array,
  dim: number,
  features: number,
  seed: bigint,
  matrix: "ternary" | "bipolar",
): Float64Array {
  const count = input.length / features;
  const products = new Float64Array(count * dim);
  for (let i = 0; i < dim; i++) {
    const row = drawn(features, seed, matrix, i);
    for (let list = 0; list < count; list++) {
      for (let j = 0; j < features; j++) {
        products[list * dim + i]! += row[j]! * input[list * features + j]!;
      }
    }
  }
  return products;
}

describe("ProjectionEncoder", () => {
  it("is the sign of the matrix times the features", () => {
    for (const dim of DIMS) {
      const features = dim > 100_000 ? 4 : 37;
      const count = dim > 10_000 ? 1 : 3;
      // Small halves: their sums are exact in float32, in any order.
      const input = Float32Array.from(
        randomFloats(count * features, dim),
        (value) => Math.round(value * 16) / 2,
      );
      for (const matrix of dim > 10_000 ? ["bipolar"] as const : ["ternary", "bipolar"] as const) {
        const products = productsOf(input, dim, features, 8n, matrix);
        for (const threshold of dim > 100_000 ? [1.5] : [0, 1.5]) {
          const expected = signsOf(products, { threshold });
          using encoder = new ProjectionEncoder(dim, features, { matrix, seed: 8, threshold });
          onEveryTier((label) => {
            const text = `${label}, ${dim}, ${matrix}, ${threshold}`;
            assertTrits(encoder.encodeAll(input), expected, text);
            const last = input.subarray((count - 1) * features);
            assertTrits(encoder.encode(last), expected.subarray((count - 1) * dim), text);
          });
        }
      }
    }
  });

  it("takes any numbers, but for rounding", () => {
    const [dim, features] = [10_000, 301];
    const input = randomFloats(features, 7);
    const products = productsOf(input, dim, features, 1n, "ternary");
    // Each of 300 additions of partial sums, which are below 301, rounds by 2^-24 of them.
    const tolerance = 301 * 300 * 2 ** -24;
    for (const threshold of [0, 2]) {
      const expected = signsOf(products, { threshold });
      onEveryTier((label) => {
        using encoder = new ProjectionEncoder(dim, features, { seed: 1, threshold });
        const trits = encoder.encode(input).toInt8Array();
        products.forEach((product, i) => {
          if (Math.abs(Math.abs(product) - threshold) <= tolerance) return;
          assert.equal(trits[i], expected[i], `${label}, ${i}: ${product}`);
        });
      });
    }
  });

  it("keeps angles: the share of trits that differ is the angle / pi", () => {
    const [dim, features] = [10_000, 300];
    using encoder = new ProjectionEncoder(dim, features, { seed: 2 });
    const a = randomFloats(features, 3);
    const b = randomFloats(features, 4);
    const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
    for (const mix of [0, 0.3, 1]) {
      const c = a.map((value, index) => (1 - mix) * value + mix * b[index]!);
      const angle = Math.acos(Math.min(1, dot(a, c) / Math.sqrt(dot(a, a) * dot(c, c))));
      const share = encoder.encode(a).hamming(encoder.encode(c)) / dim;
      // Five standard deviations of a share of at most a half.
      assert.ok(Math.abs(share - angle / Math.PI) <= 2.5 / Math.sqrt(dim), `${mix}: ${share}`);
    }
  });

  it("refuses other lengths and what is not finite", () => {
    using encoder = new ProjectionEncoder(100, 3);
    assertThrowsCode(() => encoder.encode(new Float32Array(4)), "invalid_length", /features/);
    assertThrowsCode(() => encoder.encodeAll(new Float32Array(4)), "invalid_length", /multiple/);
    assertThrowsCode(() => encoder.encodeAll(new Float32Array(0)), "invalid_length");
    assertThrowsCode(() => encoder.encode(Float32Array.of(1, NaN, 1)), "invalid_value", /\[1\]/);
    assertThrowsCode(() => encoder.encode(wrong([1, 2, 3])), "invalid_type");
    assertThrowsCode(
      () => new ProjectionEncoder(100, 3, { matrix: wrong("gaussian") }),
      "invalid_option",
    );
    assertThrowsCode(() => new ProjectionEncoder(2 ** 20, 2 ** 12), "invalid_shape", /matrix/);
    assertThrowsCode(() => new ProjectionEncoder(100, 0), "invalid_value", /features/);
  });
});

/** The n-grams of a text. */
function gramsOf(
  text: SymbolText,
  { dim, n, mode, seed, distribution }: {
    dim: number;
    n: number;
    mode: BindMode;
    seed: bigint;
    distribution: Distribution;
  },
): Int8Array[] {
  const symbols = typeof text === "string"
    ? Array.from(text, (character) => character.codePointAt(0)!)
    : [...text];
  const items = new Map(
    symbols.map((symbol) => [symbol, drawn(dim, seed, distribution, symbol)]),
  );
  return ngramsOf(symbols.map((symbol) => items.get(symbol)!), n, mode);
}

/** A text of a few letters, some of them from far away in Unicode. */
function randomText(length: number, seed: number): string {
  const random = seeded(seed);
  const letters = ["a", "b", "c", "d", "e", " ", "é", "ж"];
  return Array.from({ length }, () => letters[Math.floor(letters.length * random())]!).join("");
}

describe("NgramEncoder", () => {
  it("is bind, permute and bundle step by step", () => {
    const kinds = [
      ...[["multiply", "bipolar"], ["multiply", "ternary"], ["add", "ternary"]] as const,
      ["subtract", { zeros: 0.5 }] as const,
    ];
    for (const dim of DIMS) {
      for (const [mode, distribution] of dim > 10_000 ? kinds.slice(2) : kinds) {
        // 248 is what the counters hold; the others are off by a window and by a group.
        const texts = dim > 100_000
          ? [[2, 4]] as const
          : dim > 1000
          ? [[3, 9]] as const
          : dim > 65
          ? [[3, 260]] as const
          : [[1, 9], [2, 249], [3, 20], [3, 260], [4, 251], [5, 508]] as const;
        for (const [n, length] of texts) {
          const options = { dim, n, mode, distribution, seed: 7n };
          const text = randomText(length, dim + n);
          const grams = gramsOf(text, options);
          const counts = new Int32Array(dim);
          for (const gram of grams) {
            for (let i = 0; i < dim; i++) counts[i]! += gram[i]!;
          }
          const ways = [
            { threshold: Math.round(length / 10) },
            ...TIES.map((tie) => ({ tie, seed: 5n })),
          ].slice(dim > 100_000 ? 3 : 0);
          const expected = ways.map((way) => signsOf(counts, way, grams[0]));
          onEveryTier((label) => {
            const name = `${label}, ${dim}, ${mode}, ${n}`;
            using encoder = new NgramEncoder(dim, options);
            assertSame(encoder.counts(text), counts, name);
            using out = new Hypervector(dim);
            ways.forEach((way, i) =>
              assertTrits(encoder.encode(text, { ...way, out }), expected[i]!, `${name}, way ${i}`)
            );
          });
        }
      }
    }
  });

  it("is the same on every tier and with every number of threads", () => {
    const texts = [randomText(3000, 1), "", "ab", "abc", randomText(400, 2), randomText(90, 3)];
    for (const mode of ["multiply", "add"] as const) {
      let counts: Int32Array | undefined;
      let vectors: HypervectorBatch | undefined;
      onEveryTier((label) => {
        using encoder = new NgramEncoder(10_000, { mode });
        counts ??= encoder.counts(texts);
        assertSame(encoder.counts(texts), counts, label);
        vectors ??= encoder.encodeAll(texts, { tie: "random", seed: 3 });
        assert.ok(encoder.encodeAll(texts, { tie: "random", seed: 3 }).equals(vectors), label);
      });
      vectors![Symbol.dispose]();
    }
  });

  it("encodes lists as it encodes texts, into what is given", () => {
    using encoder = new NgramEncoder(1000);
    const texts = ["hello world", "x", "", "good-bye"];
    using batch = new HypervectorBatch(4, 1000);
    const counts = new Int32Array(4000);
    assert.equal(encoder.encodeAll(texts, { out: batch }), batch);
    assert.equal(encoder.counts(texts, { out: counts }), counts);
    texts.forEach((text, row) => {
      assert.ok(batch.get(row).equals(encoder.encode(text)));
      assertSame(counts.subarray(1000 * row, 1000 * (row + 1)), encoder.counts(text));
    });
    assert.equal(batch.get(1).counts().zero, 1000, "shorter than n");
  });

  it("does not depend on what was encoded before, and grows", () => {
    using fresh = new NgramEncoder(200);
    using used = new NgramEncoder(200);
    // More symbols than there is room for at first, some beyond 16 bits.
    const many = Array.from({ length: 500 }, (_, index) => String.fromCodePoint(0x1f300 + index));
    used.encode(many.join(""));
    assert.equal(used.symbols, 500);
    assert.ok(used.encode("some text").equals(fresh.encode("some text")));
    assert.ok(used.memoryBytes > fresh.memoryBytes);
    const text = `a${many[3]}b${many[400]}`;
    assertSame(used.counts(text), fresh.counts(text));
  });

  it("takes numbers for symbols; strings are their code points", () => {
    using encoder = new NgramEncoder(1000);
    const text = "naïve 🙂 text \ud800";
    const points = Uint32Array.from(text, (character) => character.codePointAt(0)!);
    assert.ok(encoder.encode(points).equals(encoder.encode(text)));
    using large = encoder.encode(Uint32Array.of(2 ** 32 - 1, 5, 2 ** 31));
    assert.equal(large.sparsity, 0);
  });

  it("refuses what is no text and no n", () => {
    using encoder = new NgramEncoder(100);
    assertThrowsCode(() => encoder.encode(wrong(5)), "invalid_type", /texts\[0\] must be a string/);
    assertThrowsCode(() => encoder.encodeAll(["a", wrong([1])]), "invalid_type", /texts\[1\]/);
    assertThrowsCode(() => encoder.encodeAll([]), "invalid_value", /texts must be a list/);
    assertThrowsCode(() => encoder.encodeAll(wrong("text")), "invalid_value");
    assertThrowsCode(() => encoder.counts([]), "invalid_value");
    assertThrowsCode(() => encoder.encode("a", { out: new Hypervector(99) }), "invalid_shape");
    const out = new HypervectorBatch(2, 100);
    assertThrowsCode(() => encoder.encodeAll(["a"], { out }), "invalid_shape", /out must be 1/);
    assertThrowsCode(() => encoder.counts("a", { out: new Int32Array(99) }), "invalid_length");
    assertThrowsCode(() => encoder.encode("a", { tie: wrong("none") }), "invalid_option");
    assertThrowsCode(() => new NgramEncoder(100, { n: 0 }), "invalid_value", /n must be/);
    assertThrowsCode(() => new NgramEncoder(100, { n: 65 }), "invalid_value", /n must be/);
    assertThrowsCode(() => new NgramEncoder(100, { mode: wrong("xor") }), "invalid_option", /mode/);
    encoder[Symbol.dispose]();
    assertThrowsCode(() => encoder.encode("abc"), "disposed");
  });
});
