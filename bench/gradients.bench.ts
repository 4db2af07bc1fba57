// How long gradients take to be compressed and to come back, next to a copy of them.

import { bench, do_not_optimize, run, summary } from "mitata";
import { type CodecName, type CodecOptions, createCodec, info } from "../mod.ts";

const { isa, threads } = info();
console.log(`${isa}, ${threads} threads`);

const COUNT = 2 ** 20;
const gradients = Float32Array.from({ length: COUNT }, (_, index) => Math.sin(index ** 2));
const copy = new Float32Array(COUNT);

const CASES: readonly (readonly [CodecName, CodecOptions])[] = [
  ["sign", {}],
  ["ternary", {}],
  ["rotated", { bits: 1 }],
  ["rotated", { bits: 2 }],
  ["rotated", { bits: 4 }],
  ["projection", { ratio: 10 }],
  ["vsa", { ratio: 40 }],
  ["lowrank", { shape: [1024, 1024], rank: 4 }],
];

summary(() => {
  bench("copy 4 MB", () => copy.set(gradients));
  for (const [name, options] of CASES) {
    const codec = createCodec(name, options);
    const out = new Uint8Array(codec.maxBytes(COUNT));
    const label = `${name} ${JSON.stringify(options)}`;
    bench(`compress 4 MB, ${label}`, () => do_not_optimize(codec.compress(gradients, { out })));
    const bytes = codec.compress(gradients).slice();
    bench(
      `decompress 4 MB, ${label}`,
      () => do_not_optimize(codec.decompress(bytes, { out: copy })),
    );
  }
});

await run();
