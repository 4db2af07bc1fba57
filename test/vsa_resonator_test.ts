import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Hypervector, HypervectorBatch, Resonator } from "../mod.ts";
import { assertThrowsCode, wrong } from "./support.ts";

const [DIM, ROWS] = [1000, 60];

/** Three codebooks, and the product of one row of each. */
function problem(
  seed: number,
): { books: HypervectorBatch[]; product: Hypervector; rows: number[] } {
  const books = [1, 2, 3].map((book) =>
    HypervectorBatch.random(ROWS, DIM, 1000 * seed + book, { distribution: "bipolar" })
  );
  const rows = [13, 42, 7].map((row) => (row * (seed + 1)) % ROWS);
  const [a, b, c] = books.map((book, index) => book.get(rows[index]!));
  const product = a!.bind(b!, { mode: "multiply" }).bind(c!, { mode: "multiply" });
  return { books, product, rows };
}

describe("Resonator", () => {
  it("begins again with the next seed where it does not converge", () => {
    let [first, all, again] = [0, 0, 0];
    const trials = 60;
    for (let seed = 0; seed < trials; seed++) {
      const { books, product, rows } = problem(seed);
      const once = new Resonator(books, { maxIterations: 200 }).factorize(product);
      const found = new Resonator(books, { maxIterations: 200, restarts: 3 }).factorize(product);
      const isRight = (indices: Uint32Array) => indices.join() === rows.join();
      // An estimate that stopped changing is right here, and one that did not is not.
      assert.equal(once.converged, isRight(once.indices));
      if (once.converged) {
        first++;
        assert.deepEqual(found, once);
      } else {
        again++;
        const second = new Resonator(books, { maxIterations: 200, seed: 1 }).factorize(product);
        if (second.converged) {
          assert.deepEqual(found, { ...second, iterations: 200 + second.iterations });
        }
      }
      if (isRight(found.indices)) all++;
    }
    // Of 200 products like these 93 % were found at once: 60 have 56 +- 2.
    assert.ok(first >= 48 && again >= 1, `${first} at once, ${again} again`);
    assert.equal(all, trials);
  });

  it("gives up after the last beginning", () => {
    const { books } = problem(1);
    const product = HypervectorBatch.random(1, DIM, 5, { distribution: "bipolar" }).get(0);
    const resonator = new Resonator(books, { maxIterations: 3, restarts: 2, seed: 2n ** 64n - 1n });
    assert.deepEqual([resonator.maxIterations, resonator.restarts], [3, 2]);
    const { iterations, converged, similarity } = resonator.factorize(product);
    assert.deepEqual([iterations, converged], [9, false]);
    assert.ok(Math.abs(similarity) < 0.2);
  });

  it("refuses what is no number of beginnings", () => {
    const { books } = problem(1);
    for (const restarts of [-1, 0.5, NaN, 2 ** 32]) {
      assertThrowsCode(() => new Resonator(books, { restarts }), "invalid_value", /restarts/);
    }
    assertThrowsCode(() => new Resonator(books, { restarts: wrong("1") }), "invalid_type");
  });
});
