import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Hypervector, HypervectorBatch, info, SparseHypervector } from "../mod.ts";
import { assertGuarded, container, planesOf } from "./containers.ts";
import {
  assertSame,
  assertThrowsCode,
  onEveryTier,
  randomTrits,
  unaligned,
  wrong,
} from "./support.ts";
import { assertTrits, DIMS as VECTOR_DIMS } from "./vsa_reference.ts";

const DIMS = [...VECTOR_DIMS, 255, 256, 257];

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
      const thresholds = [0, 0.35, 0.1, 1e-50, 3e38, 1e300];
      for (const threshold of thresholds.slice(0, dim > 100_000 ? 2 : 6)) {
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

describe("save and load", () => {
  it("are what the definition says, and the same vectors again", () => {
    for (const dim of DIMS) {
      const count = dim > 100_000 ? 1 : 3;
      const trits = randomTrits(count * dim, dim);
      const planes = planesOf(trits, dim);
      const want = container({ kind: "Hypervectors", count, dim }, planes);
      const first = container(
        { kind: "Hypervectors", count: 1, dim },
        planes.subarray(0, planes.length / count),
      );
      onEveryTier((label) => {
        using batch = HypervectorBatch.from(trits, [count, dim]);
        assertSame(batch.save(), want, `${label}, ${dim}`);
        using loaded = HypervectorBatch.load(unaligned(want));
        assertTrits(loaded, trits, `${label}, ${dim}`);
        assert.ok(loaded.equals(batch), `${label}, ${dim}`);
        using row = batch.get(0);
        assertSame(row.save(), first, `${label}, ${dim}`);
        assertTrits(Hypervector.load(first), trits.subarray(0, dim), `${label}, ${dim}`);
      });
    }
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

  it("leave no native memory behind when refused", () => {
    const saved = container({ kind: "Hypervectors", count: 1, dim: 7 }, Uint8Array.of(0x80, 0));
    const before = info().handles;
    for (let left = 100; left > 0; left--) assert.throws(() => Hypervector.load(saved));
    assert.ok(info().handles <= before);
  });
});
