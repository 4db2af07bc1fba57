import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Hypervector, HypervectorBatch, Permutation } from "../mod.ts";
import { assertSame, assertThrowsCode, onEveryTier, randomTrits, wrong } from "./support.ts";
import {
  assertTrits,
  DIMS,
  joined,
  moved,
  rotated,
  rowsOf,
  thinned,
  wordsOf,
} from "./vsa_reference.ts";

describe("permute by a shift", () => {
  it("moves every trit round and round", () => {
    for (const dim of DIMS) {
      const trits = randomTrits(dim, dim);
      const shifts = dim > 1000 ? [1, -64, dim / 2 | 0] : [0, -0, 1, -1, 5, 64, -65, dim - 1, dim];
      const wants = shifts.map((shift) => rotated(trits, shift));
      onEveryTier((label) => {
        using a = Hypervector.from(trits);
        using out = Hypervector.random(dim, 1);
        shifts.forEach((shift, index) => {
          const text = `${label}, ${dim} by ${shift}`;
          assert.equal(a.permute(shift, { out }), out);
          assertTrits(out, wants[index]!, text);
          assert.ok(out.unpermute(shift, { out }).equals(a), text);
        });
      });
    }
  });

  it("takes every shift at every dimension up to 200", () => {
    for (let dim = 1; dim <= 200; dim += 7) {
      const trits = randomTrits(dim, dim);
      using a = Hypervector.from(trits);
      using out = new Hypervector(dim);
      for (let shift = 0; shift < dim; shift++) {
        assertTrits(a.permute(shift, { out }), rotated(trits, shift), `${dim} by ${shift}`);
      }
    }
  });

  it("reduces far shifts exactly", () => {
    using a = Hypervector.random(1000, 1);
    using b = a.permute(Number.MAX_SAFE_INTEGER);
    assert.ok(b.equals(a.permute(Number(BigInt(Number.MAX_SAFE_INTEGER) % 1000n))));
    assert.ok(a.permute(-(2 ** 53 - 1)).equals(a.unpermute(2 ** 53 - 1)));
  });

  it("of rows is that of each, in place too", () => {
    for (const dim of [65, 1000]) {
      onEveryTier(() => {
        using batch = HypervectorBatch.random(7, dim, 2);
        using whole = batch.permute(70);
        for (let row = 0; row < 7; row++) {
          assert.ok(whole.get(row).equals(batch.get(row).permute(70)));
        }
        assert.ok(batch.copy().permute(70).equals(whole));
        using place = batch.copy();
        assert.equal(place.permute(70, { out: place }), place);
        assert.ok(place.equals(whole));
      });
    }
  });

  it("refuses what is no shift", () => {
    using a = Hypervector.random(10, 1);
    for (const shift of [0.5, NaN, Infinity, 2 ** 53]) {
      assertThrowsCode(
        () => a.permute(shift),
        "invalid_value",
        /shift must be a safe integer, got/,
      );
    }
    assertThrowsCode(
      () => a.permute(wrong("1")),
      "invalid_type",
      /shift must be a number or a Perm/,
    );
    assertThrowsCode(() => a.permute(1, { out: new Hypervector(11) }), "invalid_shape", /out must/);
    assertThrowsCode(() => a.permute(1, wrong(1)), "invalid_type");
    a[Symbol.dispose]();
    assertThrowsCode(() => a.permute(1), "disposed");
  });
});

describe("permute by a permutation", () => {
  it("moves trit i to place p[i]", () => {
    for (const dim of DIMS) {
      const trits = randomTrits(dim, dim);
      const order = Permutation.random(dim, dim);
      const places = order.toUint32Array();
      const want = moved(trits, (index) => places[index]!);
      onEveryTier((label) => {
        using a = Hypervector.from(trits);
        using out = Hypervector.random(dim, 1);
        assertTrits(a.permute(order, { out }), want, `${label}, ${dim}`);
        assert.ok(out.unpermute(order, { out }).equals(a), `${label}, ${dim}`);
      });
    }
  });

  it("of rows is that of each, in place too", () => {
    const order = Permutation.random(1000, 1);
    onEveryTier(() => {
      using batch = HypervectorBatch.random(40, 1000, 2);
      using whole = batch.permute(order);
      for (const row of [0, 1, 39]) {
        assert.ok(whole.get(row).equals(batch.get(row).permute(order)));
      }
      batch.permute(order, { out: batch });
      assert.ok(batch.equals(whole));
    });
  });

  it("composes, and has an inverse", () => {
    for (const dim of DIMS) {
      const [p, q] = [Permutation.random(dim, 1), Permutation.random(dim, 2)];
      const [first, second] = [p.toUint32Array(), q.toUint32Array()];
      assertSame(p.compose(q).toUint32Array(), first.map((place) => second[place]!));
      const inverse = new Uint32Array(dim);
      first.forEach((place, index) => inverse[place] = index);
      assertSame(p.inverse().toUint32Array(), inverse);
      assertSame(p.inverse().inverse().toUint32Array(), first);
    }
  });

  it("random is the documented mapping", () => {
    for (const dim of [2, 9, 100, ...DIMS]) {
      const seed = 2n ** 40n + BigInt(dim);
      const places = Uint32Array.from({ length: dim }, (_, index) => index);
      const words = wordsOf(dim, seed, 0, 3);
      for (let i = dim - 1; i >= 1; i--) {
        // Exact: at most 2^32 times a million.
        const j = Math.floor(words[dim - 1 - i]! * (i + 1) / 2 ** 32);
        [places[i], places[j]] = [places[j]!, places[i]!];
      }
      assertSame(Permutation.random(dim, seed).toUint32Array(), places);
    }
  });

  it("random reaches every order about equally often", () => {
    const counts = new Map<string, number>();
    for (let seed = 0; seed < 6000; seed++) {
      const name = Permutation.random(3, seed).toUint32Array().join();
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    assert.equal(counts.size, 6);
    // 1000 each; six standard deviations of sqrt(6000 * 1/6 * 5/6) = 29 are 173.
    for (const [name, count] of counts) {
      assert.ok(Math.abs(count - 1000) < 173, `${name}: ${count}`);
    }
  });

  it("keeps what it is made from apart", () => {
    const places = Uint32Array.of(1, 2, 0);
    const order = Permutation.from(places);
    places.fill(0);
    order.toUint32Array().fill(0);
    assertSame(order.toUint32Array(), [1, 2, 0]);
    assertSame(order.inverse().toUint32Array(), [2, 0, 1]);
    assert.equal(order.dim, 3);
  });

  it("refuses what is no permutation", () => {
    using a = Hypervector.random(3, 1);
    for (const places of [[0, 0, 1], [0, 1, 3], [2 ** 32 - 1], [1]]) {
      assertThrowsCode(
        () => Permutation.from(Uint32Array.from(places)),
        "invalid_value",
        /, got \d/,
      );
    }
    assertThrowsCode(() => Permutation.from(new Uint32Array(0)), "invalid_value", /from 1 to/);
    assertThrowsCode(
      () => Permutation.from(wrong([0, 1])),
      "invalid_type",
      /places must be a Uint32/,
    );
    assertThrowsCode(() => Permutation.random(0, 1), "invalid_value", /dim must be/);
    assertThrowsCode(() => Permutation.random(2 ** 30 + 1, 1), "invalid_value", /dim must be/);
    assertThrowsCode(() => Permutation.random(3, -1), "invalid_value", /seed must be/);
    assertThrowsCode(
      () => a.permute(Permutation.random(4, 1)),
      "invalid_shape",
      /shift must have 3/,
    );
    assertThrowsCode(() => Permutation.random(3, 1).compose(wrong(1)), "invalid_type", /next must/);
    assertThrowsCode(() => new (wrong(Permutation))(3), "invalid_type", /is made by/);
  });
});

describe("thin", () => {
  it("is the documented mapping at every size", () => {
    for (const dim of DIMS) {
      const count = dim > 100_000 ? 1 : 3;
      const trits = randomTrits(count * dim, dim);
      const seed = 2n ** 33n + 9n;
      for (const keep of dim > 10_000 ? [0.4] : [0, 0.001, 0.4, 1]) {
        const want = joined(rowsOf(trits, dim).map((row, r) => thinned(row, keep, seed, r)));
        onEveryTier((label) => {
          using batch = HypervectorBatch.from(trits, [count, dim]);
          using out = batch.thin({ keep, seed });
          assertTrits(out, want, `${label}, ${dim}, ${keep}`);
          assert.equal(batch.thin({ keep, seed, out: batch }), batch);
          assert.ok(batch.equals(out));
        });
      }
    }
  });

  it("keeps about the share asked for", () => {
    using a = Hypervector.random(1_000_003, 1, { distribution: "bipolar" });
    for (const keep of [0.001, 0.25, 0.9]) {
      const nonzero = 1_000_003 - a.thin({ keep, seed: 5 }).counts().zero;
      const deviation = Math.sqrt(1_000_003 * keep * (1 - keep));
      assert.ok(Math.abs(nonzero - 1_000_003 * keep) < 6 * deviation, `${keep}: ${nonzero}`);
    }
    assert.equal(a.thin({ keep: 0 }).sparsity, 1);
    assert.equal(a.thin({ keep: -0 }).sparsity, 1);
    assert.ok(a.thin({ keep: 1 }).equals(a));
    assert.ok(a.thin({ keep: 0.5 }).equals(a.thin({ keep: 0.5, seed: 0 })));
    assert.ok(!a.thin({ keep: 0.5 }).equals(a.thin({ keep: 0.5, seed: 1 })));
  });

  it("refuses what is no share", () => {
    using a = Hypervector.random(10, 1);
    for (const keep of [-0.1, 1.1, NaN]) {
      assertThrowsCode(() => a.thin({ keep }), "invalid_value", /keep must be/);
    }
    assertThrowsCode(() => a.thin(wrong(undefined)), "invalid_type", /keep must be a number/);
    assertThrowsCode(() => a.thin({ keep: 1, seed: 0.5 }), "invalid_value", /seed must be/);
    assertThrowsCode(() => a.thin({ keep: 0.5, out: new Hypervector(9) }), "invalid_shape", /out/);
  });
});

describe("slice and concat", () => {
  it("take and join trits at any place", () => {
    for (const dim of DIMS) {
      const trits = randomTrits(dim, dim);
      const cuts = [[0, dim], [0, 1], [dim - 1, dim], [dim >> 1, dim], [dim >> 2, (dim >> 1) + 1]];
      onEveryTier((label) => {
        using a = Hypervector.from(trits);
        for (const [start, end] of cuts as [number, number][]) {
          using part = a.slice(start, end);
          assertTrits(part, trits.subarray(start, end), `${label}, ${dim}: ${start}`);
          if (end === dim && start > 0) {
            using whole = Hypervector.concat([a.slice(0, start), part]);
            assert.ok(whole.equals(a), `${label}, ${dim}: ${start}`);
          }
        }
      });
    }
  });

  it("join many short vectors", () => {
    const parts = Array.from({ length: 50 }, (_, index) => randomTrits(index * 3 + 1, index));
    using whole = Hypervector.concat(parts.map((part) => Hypervector.from(part)));
    assertTrits(whole, joined(parts), "50 parts");
  });

  it("take the same part of every row", () => {
    using batch = HypervectorBatch.random(5, 700, 1);
    using part = batch.slice(65, 600);
    assert.deepEqual([part.count, part.dim], [5, 535]);
    for (let row = 0; row < 5; row++) {
      assert.ok(part.get(row).equals(batch.get(row).slice(65, 600)));
    }
    using out = HypervectorBatch.random(5, 535, 2);
    assert.equal(batch.slice(65, 600, { out }), out);
    assert.ok(out.equals(part));
    assert.ok(batch.slice(-0, 5).equals(batch.slice(0, 5)));
    assert.ok(batch.get(-0).equals(batch.get(0)));
  });

  it("refuse what is not there", () => {
    using a = Hypervector.random(10, 1);
    assertThrowsCode(() => a.slice(0, 11), "invalid_value", /end must be/);
    assertThrowsCode(() => a.slice(5, 5), "invalid_value", /start must be/);
    assertThrowsCode(() => a.slice(-1), "invalid_value", /start must be/);
    assertThrowsCode(() => a.slice(wrong("1")), "invalid_type", /start must be a number/);
    assertThrowsCode(() => a.slice(0, 5, { out: new Hypervector(6) }), "invalid_shape", /out must/);
    assertThrowsCode(() => a.slice(0, 10, { out: a }), "invalid_option", /two objects/);
    assertThrowsCode(() => Hypervector.concat([]), "invalid_value", /vectors must be a list/);
    assertThrowsCode(() => Hypervector.concat(wrong(a)), "invalid_value", /vectors must be a list/);
    const batch = HypervectorBatch.random(1, 10, 1);
    assertThrowsCode(() => Hypervector.concat([a, wrong(batch)]), "invalid_type", /vectors\[1\]/);
  });
});

describe("get", () => {
  it("returns each trit", () => {
    const trits = randomTrits(700, 1);
    using a = Hypervector.from(trits);
    assertSame(Array.from(trits, (_, index) => a.get(index)), trits);
    assert.equal(a.get(-0), trits[0]);
  });

  it("refuses places outside", () => {
    using a = Hypervector.random(10, 1);
    for (const index of [-1, 10, 0.5, 2 ** 32]) {
      assertThrowsCode(() => a.get(index), "invalid_value", /index must be an integer from 0 to 9/);
    }
  });
});
