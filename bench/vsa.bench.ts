// How long single operations on hypervectors take, calls included, next to loops over bytes.

import { bench, do_not_optimize, run, summary } from "mitata";
import { Hypervector, HypervectorBatch, info } from "../mod.ts";

const { isa, threads } = info();
console.log(`${isa}, ${threads} threads`);

const dim = 10_000;
const a = Hypervector.random(dim, 1);
const b = Hypervector.random(dim, 2);
const out = new Hypervector(dim);
const [x, y] = [a.toInt8Array(), b.toInt8Array()];
const z = new Int8Array(dim);

summary(() => {
  bench("bind 10,000", () => void a.bind(b, { out }));
  bench("bind 10,000, loop over bytes", () => {
    for (let index = 0; index < dim; index++) {
      const sum = x[index]! + y[index]!;
      z[index] = sum > 1 ? sum - 3 : sum < -1 ? sum + 3 : sum;
    }
    do_not_optimize(z);
  });
});

summary(() => {
  bench("dot 10,000", () => do_not_optimize(a.dot(b)));
  bench("dot 10,000, loop over bytes", () => {
    let sum = 0;
    for (let index = 0; index < dim; index++) sum += x[index]! * y[index]!;
    do_not_optimize(sum);
  });
});

bench("cosine 10,000", () => do_not_optimize(a.cosine(b)));
bench("hamming 10,000", () => do_not_optimize(a.hamming(b)));
bench("permute 10,000", () => void a.permute(1, { out }));
bench("random 10,000", () => Hypervector.random(dim, 3)[Symbol.dispose]());

for (const count of [3, 16, 64]) {
  const vectors = Array.from(
    { length: count },
    (_, seed) => Hypervector.random(dim, seed),
  );
  bench(
    `bundle ${count} x 10,000`,
    () => void Hypervector.bundle(vectors, { out }),
  );
}

const items = HypervectorBatch.random(10_000, dim, 1);
bench("top 10 of 10,000 x 10,000", () => do_not_optimize(items.topK(a, 10)));

await run();
