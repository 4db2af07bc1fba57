// How long packing and unpacking take, and preparing weights for matrix products.

import { bench, do_not_optimize, run } from "mitata";
import { info, PackedTernary, packTernaryWeights, unpackTernaryWeights } from "../mod.ts";

const { isa, threads } = info();
console.log(`${isa}, ${threads} threads`);

for (const size of [256, 1024]) {
  const shape = [size, size] as const;
  const ternary = Int8Array.from({ length: size * size }, (_, index) => index * 7 % 3 - 1);
  const floats = Float32Array.from(ternary);
  const scales = new Float32Array(size).fill(1);
  const { packed } = packTernaryWeights(ternary, scales, shape);
  bench(`pack bytes ${size} x ${size}`, () => {
    do_not_optimize(packTernaryWeights(ternary, scales, shape));
  });
  bench(`pack floats ${size} x ${size}`, () => {
    do_not_optimize(packTernaryWeights(floats, scales, shape));
  });
  bench(`unpack ${size} x ${size}`, () => {
    do_not_optimize(unpackTernaryWeights(packed, scales, shape));
  });
  bench(`prepare and free ${size} x ${size}`, () => {
    PackedTernary.fromPackedBytes(packed, scales, shape)[Symbol.dispose]();
  });
}

await run();
