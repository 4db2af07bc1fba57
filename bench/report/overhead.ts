// What a call costs that has next to nothing to compute.

import { getThreads, PackedTernary } from "../../mod.ts";
import { addRow, type Context } from "./context.ts";
import { interleave, Timed } from "./interleave.ts";
import { median } from "./statistics.ts";

const SIZE = 64;
const SUITE = "overhead";

/** What a call may cost beside its kernel. */
const allowed_us = (runtime: string) => runtime.startsWith("Bun") ? 1 : 2;

export async function measureOverhead(context: Context): Promise<void> {
  const name = `${SIZE} x ${SIZE}, batch 1, hot call`;
  if (!context.wants(SUITE, name)) return;
  const trits = Int8Array.from(
    { length: SIZE * SIZE },
    (_, index) => index % 3 - 1,
  );
  using packed = PackedTernary.fromTernary(
    trits,
    new Float32Array(SIZE).fill(1),
    [SIZE, SIZE],
  );
  const input = Float32Array.from(
    { length: SIZE },
    (_, index) => Math.sin(index),
  );
  const options = { activations: "int8", out: new Float32Array(SIZE) } as const;
  // A thousand calls a sample: the clock must not count.
  const calls = 1000;
  const product = new Timed(() => {
    for (let left = calls; left > 0; left--) packed.matmul(input, options);
  });
  const empty = new Timed(() => {
    for (let left = calls; left > 0; left--) getThreads();
  });
  // The runtimes compile a function for good after some ten thousand calls.
  for (let left = 100; left > 0 && !context.effort.quick; left--) {
    await product.take({ ...context.effort, sample_ms: 0, warmup_ms: 0 });
    await empty.take({ ...context.effort, sample_ms: 0, warmup_ms: 0 });
  }
  product.samples_us.length = 0;
  empty.samples_us.length = 0;
  const load = await interleave([product, empty], context.effort);
  const perCall = (timed: Timed) => timed.samples_us.map((sample_us) => sample_us / calls);
  const limit_us = allowed_us(context.runtime);
  const samples_us = perCall(product);
  addRow(context, samples_us, {
    suite: SUITE,
    name,
    subject: "tritter-accel",
    shape: [SIZE, SIZE],
    batch: 1,
    activations: "int8",
    peer: "the time allowed",
    ratio: limit_us / median(samples_us),
    note: `kernel included; ${limit_us} µs are allowed`,
  }, load);
  addRow(context, perCall(empty), {
    suite: SUITE,
    name: "call without work (getThreads)",
    subject: "tritter-accel",
  }, load);
}
