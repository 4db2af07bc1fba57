import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Hypervector, HypervectorBatch, info, SparseHypervector } from "../mod.ts";
import {
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomTrits,
  unaligned,
  wrong,
} from "./support.ts";

const DIMS = [1, 31, 32, 33, 63, 64, 65, 255, 256, 257, 512, 513, 1000, 10_000, 65_537, 1_000_003];

/** Rows of trits, `size` a byte, where `code` says what a byte holds. */
function encode(
  trits: Int8Array,
  dim: number,
  size: number,
  code: (group: Int8Array) => number,
): Uint8Array {
  const bytes: number[] = [];
  for (let row = 0; row < trits.length; row += dim) {
    for (let first = 0; first < dim; first += size) {
      const group = new Int8Array(size);
      group.set(trits.subarray(row + first, row + Math.min(first + size, dim)));
      bytes.push(code(group));
    }
  }
  return Uint8Array.from(bytes);
}

const WIRE = { "-1": 2, "0": 0, "1": 1 } as const;
const wireByte = (group: Int8Array) =>
  group.reduce((byte, trit, index) => byte | WIRE[`${trit as -1 | 0 | 1}`] << 2 * index, 0);
const base3Byte = (group: Int8Array) =>
  group.reduce((byte, trit, index) => byte + (trit + 1) * 3 ** index, 0);

const FORMATS = [
  {
    name: "the wire format",
    size: 4,
    byte: wireByte,
    write: (vectors: Hypervector | HypervectorBatch) => vectors.toPackedBytes(),
    read: Hypervector.fromPackedBytes,
    readBatch: HypervectorBatch.fromPackedBytes,
  },
  {
    name: "base 3",
    size: 5,
    byte: base3Byte,
    write: (vectors: Hypervector | HypervectorBatch) => vectors.toBase3Bytes(),
    read: Hypervector.fromBase3Bytes,
    readBatch: HypervectorBatch.fromBase3Bytes,
  },
];

describe("bytes", () => {
  for (const { name, size, byte, write, read, readBatch } of FORMATS) {
    it(`of ${name} are those of the definition, and back`, () => {
      for (const dim of DIMS) {
        const trits = randomTrits(dim, dim);
        const want = encode(trits, dim, size, byte);
        onEveryTier((label) => {
          using a = Hypervector.from(trits);
          assertSame(write(a), want, `${label}, ${dim}`);
          using back = read(unaligned(want), dim);
          assert.ok(back.equals(a), `${label}, ${dim}`);
          // Padding that is not 0 would show in every count.
          assert.deepEqual(back.counts(), a.counts(), `${label}, ${dim}`);
          assert.equal(back.hamming(a), 0);
        });
      }
    });

    it(`of ${name} begin anew with each row`, () => {
      for (const dim of [1, 3, 64, 333]) {
        const trits = randomTrits(300 * dim, dim);
        const want = encode(trits, dim, size, byte);
        onEveryTier((label) => {
          using batch = readBatch(want, [300, dim]);
          assertSame(batch.toInt8Array(), trits, `${label}, ${dim}`);
          assertSame(write(batch), want, `${label}, ${dim}`);
        });
      }
    });

    it(`of ${name} must be as many as the trits take`, () => {
      for (const length of [0, 1, 3]) {
        const bytes = new Uint8Array(length);
        assertThrowsCode(
          () => read(bytes, size + 1),
          "invalid_length",
          /bytes must have 2 elements/,
        );
        assertThrowsCode(
          () => readBatch(bytes, [2, 1]),
          "invalid_length",
          /bytes must have 2 elem/,
        );
      }
      for (const dim of [0, -1, 0.5, 2 ** 31 + 1, 2 ** 40, NaN]) {
        assertThrowsCode(
          () => read(new Uint8Array(1), dim),
          "invalid_value",
          /dim must be an integer/,
        );
      }
      assertThrowsCode(() => read(wrong([1]), 1), "invalid_type", /bytes must be a Uint8Array/);
      assertThrowsCode(
        () => readBatch(new Uint8Array(1), [1, 2 ** 31 + 1]),
        "invalid_value",
        /dim/,
      );
    });
  }

  it("of the wire format refuse the code 11 wherever it counts", () => {
    onEveryTier(() => {
      for (const dim of [1, 5, 64, 300, 2000]) {
        const good = new Uint8Array(Math.ceil(dim / 4));
        for (const place of [0, dim >> 1, dim - 1]) {
          const bytes = good.slice();
          bytes[place >> 2]! |= 3 << 2 * (place & 3);
          assertThrowsCode(
            () => Hypervector.fromPackedBytes(bytes, dim),
            "invalid_value",
            /got 11/,
          );
        }
        // Behind the last trit it says nothing.
        const bytes = good.slice();
        for (let place = dim; place < 4 * bytes.length; place++) {
          bytes[place >> 2]! |= 3 << 2 * (place & 3);
        }
        assert.equal(Hypervector.fromPackedBytes(bytes, dim).sparsity, 1);
      }
    });
  });

  it("of base 3 refuse what is no five trits, and trits after the last", () => {
    onEveryTier(() => {
      for (let byte = 0; byte < 256; byte++) {
        const read = () => Hypervector.fromBase3Bytes(Uint8Array.of(121, byte), 10);
        if (byte > 242) assertThrowsCode(read, "invalid_value", /at most 242/);
        else assert.equal(read().toBase3Bytes()[1], byte);
      }
      for (const dim of [1, 4, 64, 511, 512, 1021]) {
        const bytes = new Uint8Array(Math.ceil(dim / 5)).fill(121);
        for (let digit = dim % 5; digit < 5 && dim % 5 > 0; digit++) {
          for (const sign of [1, -1]) {
            const bad = bytes.slice();
            bad[bad.length - 1]! += sign * 3 ** digit;
            assertThrowsCode(
              () => Hypervector.fromBase3Bytes(bad, dim),
              "invalid_value",
              /after the/,
            );
          }
        }
        assert.equal(Hypervector.fromBase3Bytes(bytes, dim).sparsity, 1);
      }
    });
  });
});

describe("fromFloats", () => {
  it("takes the signs of what is above the threshold", () => {
    for (const dim of DIMS) {
      const values = Float32Array.from(
        randomTrits(dim, 1),
        (trit, index) => trit * (index % 7) / 10,
      );
      for (const threshold of [0, 0.1, 0.35, 1e-50, 3e38, 1e300]) {
        const want = values.map((value) => Math.abs(value) > threshold ? Math.sign(value) : 0);
        onEveryTier((label) => {
          using a = Hypervector.fromFloats(unaligned(values), { threshold });
          assertSame(
            a.toInt8Array(),
            want.map((trit) => trit || 0),
            `${label}, ${dim}: ${threshold}`,
          );
        });
      }
    }
  });

  it("takes infinities, zeros of both signs and the smallest numbers", () => {
    const values = Float32Array.of(Infinity, -Infinity, 0, -0, 1e-45, -1e-45, 3.4e38);
    onEveryTier(() => {
      assertSame(Hypervector.fromFloats(values).toInt8Array(), [1, -1, 0, 0, 1, -1, 1]);
      const far = Hypervector.fromFloats(values, { threshold: 1e300 });
      assertSame(far.toInt8Array(), [1, -1, 0, 0, 0, 0, 0]);
    });
  });

  it("takes rows", () => {
    const values = Float32Array.from(randomTrits(3 * 77, 1));
    using batch = HypervectorBatch.fromFloats(values, [3, 77], { threshold: 0.5 });
    assertSame(batch.toInt8Array(), values);
    assertThrowsCode(
      () => HypervectorBatch.fromFloats(values, [3, 78]),
      "invalid_length",
      /values/,
    );
  });

  it("refuses NaN and bad thresholds", () => {
    onEveryTier(() => {
      for (const dim of [1, 64, 1000]) {
        for (const place of [0, dim - 1]) {
          const values = new Float32Array(dim);
          values[place] = NaN;
          const message = new RegExp(`got NaN at index ${place}$`);
          assertThrowsCode(() => Hypervector.fromFloats(values), "invalid_value", message);
        }
      }
    });
    const values = new Float32Array(3);
    for (const threshold of [-1, NaN, Infinity]) {
      assertThrowsCode(
        () => Hypervector.fromFloats(values, { threshold }),
        "invalid_value",
        /thresh/,
      );
    }
    assertThrowsCode(
      () => Hypervector.fromFloats(wrong([1])),
      "invalid_type",
      /values must be a Flo/,
    );
    assertThrowsCode(
      () => Hypervector.fromFloats(new Float32Array(0)),
      "invalid_value",
      /dim must/,
    );
  });
});

/** XXH64 with seed 0, from its specification. */
function xxh64(bytes: Uint8Array): bigint {
  const primes = [
    0x9e3779b185ebca87n,
    0xc2b2ae3d27d4eb4fn,
    0x165667b19e3779f9n,
    0x85ebca77c2b2ae63n,
    0x27d4eb2f165667c5n,
  ];
  const [p1, p2, p3, p4, p5] = primes as [bigint, bigint, bigint, bigint, bigint];
  const cut = (value: bigint) => BigInt.asUintN(64, value);
  const left = (value: bigint, bits: bigint) => cut(value << bits) | value >> (64n - bits);
  const round = (sum: bigint, lane: bigint) => cut(left(cut(sum + lane * p2), 31n) * p1);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let [hash, place] = [p5, 0];
  if (bytes.length >= 32) {
    const sums = [cut(p1 + p2), p2, 0n, cut(-p1)];
    for (; place + 32 <= bytes.length; place += 32) {
      sums.forEach((sum, lane) =>
        sums[lane] = round(sum, view.getBigUint64(place + 8 * lane, true))
      );
    }
    hash = cut(sums.reduce((total, sum, lane) => total + left(sum, [1n, 7n, 12n, 18n][lane]!), 0n));
    for (const sum of sums) hash = cut((hash ^ round(0n, sum)) * p1 + p4);
  }
  hash = cut(hash + BigInt(bytes.length));
  for (; place + 8 <= bytes.length; place += 8) {
    hash = cut(left(hash ^ round(0n, view.getBigUint64(place, true)), 27n) * p1 + p4);
  }
  if (place + 4 <= bytes.length) {
    hash = cut(left(hash ^ cut(BigInt(view.getUint32(place, true)) * p1), 23n) * p2 + p3);
    place += 4;
  }
  for (; place < bytes.length; place++) {
    hash = cut(left(hash ^ cut(BigInt(bytes[place]!) * p5), 11n) * p1);
  }
  hash = cut((hash ^ hash >> 33n) * p2);
  hash = cut((hash ^ hash >> 29n) * p3);
  return hash ^ hash >> 32n;
}

/** What is saved, by its definition; the checksum is right whatever the rest is. */
function container(
  header: unknown,
  payload: Uint8Array,
  { version = 1, length = undefined as number | undefined } = {},
): Uint8Array {
  const text = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const start = Math.ceil((16 + text.length) / 8) * 8;
  const bytes = new Uint8Array(start + payload.length + 8);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("TRITVSA\0"));
  view.setUint32(8, version, true);
  view.setUint32(12, length ?? text.length, true);
  bytes.set(text, 16);
  bytes.set(payload, start);
  view.setBigUint64(bytes.length - 8, xxh64(bytes.subarray(0, -8)), true);
  return bytes;
}

const planesOf = (trits: Int8Array, dim: number) => {
  const planes = new Uint8Array(trits.length / dim * 2 * Math.ceil(dim / 8));
  trits.forEach((trit, index) => {
    const first = Math.floor(index / dim) * 2 * Math.ceil(dim / 8);
    const place = index % dim;
    if (trit !== 0) planes[first + (place >> 3)]! |= 1 << (place & 7);
    if (trit < 0) planes[first + Math.ceil(dim / 8) + (place >> 3)]! |= 1 << (place & 7);
  });
  return planes;
};

/** Every cut and every changed byte of something saved must be refused, and nothing must be kept. */
function assertGuarded(saved: Uint8Array, load: (bytes: Uint8Array) => unknown): void {
  for (let length = 0; length < saved.length; length++) {
    assertThrowsCode(() => load(saved.subarray(0, length)), "invalid_format");
  }
  for (let place = 0; place < saved.length; place++) {
    for (const flipped of [1, 0x80, 0xff]) {
      const bytes = saved.slice();
      bytes[place]! ^= flipped;
      assertThrowsCode(() => load(bytes), "invalid_format");
    }
  }
  const longer = new Uint8Array(saved.length + 8);
  longer.set(saved);
  assertThrowsCode(() => load(longer), "invalid_format");
}

describe("save and load", () => {
  it("are what the definition says, and the same vectors again", () => {
    for (const dim of DIMS.filter((dim) => dim <= 10_000)) {
      const trits = randomTrits(3 * dim, dim);
      onEveryTier((label) => {
        using batch = HypervectorBatch.from(trits, [3, dim]);
        const saved = batch.save();
        const header = { kind: "Hypervectors", count: 3, dim };
        assertSame(saved, container(header, planesOf(trits, dim)), `${label}, ${dim}`);
        assert.ok(HypervectorBatch.load(unaligned(saved)).equals(batch), `${label}, ${dim}`);
        const first = batch.get(0);
        assert.ok(Hypervector.load(first.save()).equals(first));
        assert.deepEqual(Hypervector.load(first.save()).counts(), first.counts());
      });
    }
    using large = HypervectorBatch.random(3, 1_000_003, 1);
    assert.ok(HypervectorBatch.load(large.save()).equals(large));
  });

  it("refuse every cut and every changed byte", () => {
    assertGuarded(Hypervector.random(77, 1).save(), Hypervector.load);
    assertGuarded(HypervectorBatch.random(2, 70, 1).save(), HypervectorBatch.load);
    const sparse = SparseHypervector.fromIndices([1, 5], [3, 69], 70);
    assertGuarded(sparse.save(), SparseHypervector.load);
  });

  it("refuse another kind, or several vectors where there must be one", () => {
    const batch = HypervectorBatch.random(2, 70, 1);
    const sparse = SparseHypervector.fromIndices([1], [2], 70);
    assertThrowsCode(
      () => Hypervector.load(batch.save()),
      "invalid_format",
      /count must be an integer/,
    );
    assertThrowsCode(() => Hypervector.load(sparse.save()), "invalid_format", /saved Hypervectors/);
    assertThrowsCode(() => SparseHypervector.load(batch.save()), "invalid_format", /saved Sparse/);
    assertThrowsCode(
      () => Hypervector.load(wrong("x")),
      "invalid_type",
      /bytes must be a Uint8Array/,
    );
    assert.equal(HypervectorBatch.load(batch.get(0).save()).count, 1);
  });

  it("refuse hostile headers although their checksum is right", () => {
    const kind = "Hypervectors";
    const planes = new Uint8Array(2);
    const load = (bytes: Uint8Array) => () => HypervectorBatch.load(bytes);
    assert.equal(load(container({ kind, count: 1, dim: 8 }, planes))().sparsity, 1);
    const absurd = [-1, 0, 0.5, 9, 2 ** 31, 2 ** 32, 2 ** 53, 1e300, null, "8", [8], {}, undefined];
    for (const value of absurd) {
      assertThrowsCode(load(container({ kind, count: 1, dim: value }, planes)), "invalid_format");
      assertThrowsCode(load(container({ kind, count: value, dim: 8 }, planes)), "invalid_format");
    }
    assertThrowsCode(
      load(container({ kind, count: 2 ** 31, dim: 2 ** 31 }, planes)),
      "invalid_format",
    );
    for (
      const header of ["", "{", "[]", "null", "1", '"x"', "\u00ff".repeat(3), "[".repeat(100_000)]
    ) {
      assertThrowsCode(load(container(header, planes)), "invalid_format", /header|saved/);
    }
    for (const length of [2 ** 32 - 1, 2 ** 31, 100]) {
      const bytes = container({ kind, count: 1, dim: 8 }, planes, { length });
      assertThrowsCode(load(bytes), "invalid_format", /the header must fit/);
    }
    const later = container({ kind, count: 1, dim: 8 }, planes, { version: 2 });
    assertThrowsCode(load(later), "invalid_format", /of version 1, got 2/);
  });

  it("refuse planes that are no trits although their checksum is right", () => {
    onEveryTier(() => {
      for (const dim of [1, 7, 9, 64, 513]) {
        const header = { kind: "Hypervectors", count: 1, dim };
        const bytes = Math.ceil(dim / 8);
        const load = (planes: Uint8Array) => () => Hypervector.load(container(header, planes));
        for (const place of [0, dim - 1]) {
          const planes = new Uint8Array(2 * bytes);
          planes[bytes + (place >> 3)]! |= 1 << (place & 7);
          assertThrowsCode(load(planes), "invalid_format", /negative zeros/);
        }
        if (dim % 8 === 0) continue;
        const padded = new Uint8Array(2 * bytes);
        padded[bytes - 1] = 1 << dim % 8;
        assertThrowsCode(load(padded), "invalid_format", /after the last trit/);
      }
    });
  });

  it("refuse sparse places that are none although their checksum is right", () => {
    const load = (places: number[], header: object) => () =>
      SparseHypervector.load(
        container(
          { kind: "SparseHypervector", ...header },
          new Uint8Array(Uint32Array.from(places).buffer),
        ),
      );
    const header = { dim: 10, positive: 2, negative: 1 };
    assert.equal(load([1, 2, 9], header)().dot(load([1, 2, 9], header)()), 3);
    for (const places of [[2, 1, 9], [1, 1, 9], [1, 10, 9], [1, 2, 10], [1, 2, 2], [1, 2]]) {
      assertThrowsCode(load(places, header), "invalid_format");
    }
    const absurd = [{ dim: 0 }, { dim: 2 ** 32 }, { positive: 11 }, { negative: -1 }, {
      positive: null,
    }];
    for (const change of absurd) {
      assertThrowsCode(load([1, 2, 9], { ...header, ...change }), "invalid_format");
    }
  });

  it("leave no native memory behind when refused", () => {
    const saved = container({ kind: "Hypervectors", count: 1, dim: 7 }, Uint8Array.of(0x80, 0));
    const before = info().handles;
    for (let left = 100; left > 0; left--) assert.throws(() => Hypervector.load(saved));
    assert.ok(info().handles <= before);
  });
});

const scalar = (a: Int8Array, b: Int8Array) => {
  const count = (test: (x: number, y: number) => unknown) =>
    a.reduce((sum, x, index) => sum + (test(x, b[index]!) ? 1 : 0), 0);
  const common = count((x, y) => x && y);
  const either = count((x, y) => x || y);
  const dot = a.reduce((sum, x, index) => sum + x * b[index]!, 0);
  const norm = Math.sqrt(count((x) => x) * count((_, y) => y));
  return {
    dot,
    cosine: norm === 0 ? 0 : dot / norm,
    hamming: count((x, y) => x !== y),
    overlap: common,
    jaccard: either === 0 ? 0 : common / either,
  };
};

describe("SparseHypervector", () => {
  const METRICS = ["dot", "cosine", "hamming", "overlap", "jaccard"] as const;

  it("is the same vector as the dense one", () => {
    for (const dim of [1, 2, 64, 1000, 10_000]) {
      for (const keep of [0, 0.05, 1]) {
        const rows = [1, 2].map((seed) => Hypervector.random(dim, seed).thin({ keep, seed }));
        const [a, b] = rows as [Hypervector, Hypervector];
        const [x, y] = [SparseHypervector.from(a), SparseHypervector.from(b)];
        const [left, right] = [a.toInt8Array(), b.toInt8Array()];
        assertSame(x.toInt8Array(), left);
        assert.ok(x.toHypervector().equals(a));
        assert.deepEqual(x.counts(), a.counts());
        assert.ok(Math.abs(x.sparsity - a.sparsity) < 1e-15);
        assert.ok(x.negate().toHypervector().equals(a.negate()));
        assert.ok(x.bind(y).toHypervector().equals(a.bind(b, { mode: "multiply" })));
        const want = scalar(left, right);
        for (const metric of METRICS) {
          assert.equal(x[metric](y), want[metric], `${metric}, ${dim}`);
          assert.equal(x[metric](b), want[metric], `${metric} with a dense vector, ${dim}`);
        }
        assert.ok(SparseHypervector.load(x.save()).equals(x));
        assert.ok(SparseHypervector.fromIndices(x.positive.reverse(), x.negative, dim).equals(x));
        assert.equal(x.memoryBytes, 4 * (x.positive.length + x.negative.length));
        assert.equal(x.equals(y), a.equals(b));
      }
    }
  });

  it("keeps its places apart from the caller's", () => {
    const a = SparseHypervector.fromIndices([1], [2], 5);
    a.positive[0] = 4;
    assertSame(a.toInt8Array(), [0, 1, -1, 0, 0]);
    assert.ok(!a.equals(SparseHypervector.fromIndices([1], [2], 6)));
  });

  it("refuses bad places and partners", () => {
    const make = (positive: unknown, negative: unknown, dim: unknown) => () =>
      SparseHypervector.fromIndices(wrong(positive), wrong(negative), wrong(dim));
    for (const place of [-1, 10, 0.5, NaN, "1", null]) {
      assertThrowsCode(make([place], [], 10), "invalid_value", /positive\[0\] must be an integer/);
      assertThrowsCode(make([], [place], 10), "invalid_value", /negative\[0\] must be an integer/);
    }
    assertThrowsCode(make([1, 2, 1], [], 10), "invalid_value", /got 1 twice/);
    assertThrowsCode(make([1, 2], [2], 10), "invalid_value", /got 2 in both/);
    assertThrowsCode(make([0, 1], [], 1), "invalid_length", /at most 1 places, got 2/);
    assertThrowsCode(make({ length: 2 ** 52 }, [], 10), "invalid_length");
    assertThrowsCode(make(null, [], 10), "invalid_type", /positive must be a list/);
    assertThrowsCode(make([], [], 0), "invalid_value", /dim must be/);
    const a = SparseHypervector.fromIndices([1], [2], 5);
    assertThrowsCode(
      () => a.dot(SparseHypervector.fromIndices([], [], 6)),
      "invalid_shape",
      /other/,
    );
    assertThrowsCode(() => a.dot(Hypervector.random(6, 1)), "invalid_shape", /other must have 5/);
    assertThrowsCode(
      () => a.bind(wrong(Hypervector.random(5, 1))),
      "invalid_type",
      /a SparseHyperv/,
    );
    assertThrowsCode(() => a.equals(wrong(1)), "invalid_type", /other must be/);
    assertThrowsCode(
      () => SparseHypervector.from(wrong(a)),
      "invalid_type",
      /must be a Hypervector/,
    );
    assertThrowsCode(() => new (wrong(SparseHypervector))(), "invalid_type", /must be made by/);
  });
});
