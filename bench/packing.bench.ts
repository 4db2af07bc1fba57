// How long packing and unpacking take, and preparing weights for matrix products.

import { bench, do_not_optimize, run } from "mitata";
import { info, PackedTernary, packTernaryWeights, unpackTernaryWeights } from "../mod.ts";

const { isa, threads } = info();
console.log(`${isa}, ${threads} threads`);

// 512 KB of floats lie in the L2 cache, 10 MB in the L3 cache, 256 MB in memory.
for (const [rows, cols] of [[64, 2048], [2560, 1024], [16384, 4096]] as const) {
  const shape = [rows, cols] as const;
  const size = `${rows} x ${cols}`;
  const ternary = Int8Array.from(
    { length: rows * cols },
    (_, index) => index * 7 % 3 - 1,
  );
  const floats = Float32Array.from(ternary);
  const scales = new Float32Array(rows).fill(1);
  const out = new Uint8Array(rows * cols / 4);
  const { packed } = packTernaryWeights(ternary, scales, shape);
  bench(`pack bytes ${size}`, () => {
    do_not_optimize(packTernaryWeights(ternary, scales, shape, { out }));
  });
  bench(`pack floats ${size}`, () => {
    do_not_optimize(packTernaryWeights(floats, scales, shape, { out }));
  });
  const weights = new Float32Array(rows * cols);
  bench(`unpack ${size}`, () => {
    do_not_optimize(
      unpackTernaryWeights(packed, scales, shape, { out: weights }),
    );
  });
  bench(`prepare packed bytes and free ${size}`, () => {
    PackedTernary.fromPackedBytes(packed, scales, shape)[Symbol.dispose]();
  });
  bench(`prepare trits and free ${size}`, () => {
    PackedTernary.fromTernary(ternary, scales, shape)[Symbol.dispose]();
  });
  bench(`quantise, prepare and free ${size}`, () => {
    PackedTernary.fromWeights(floats, shape)[Symbol.dispose]();
  });
}

await run();
