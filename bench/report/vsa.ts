// Hypervectors: binding, bundling, comparing and searching, next to their limits and their peers.

import {
  getThreads,
  Hypervector,
  HypervectorBatch,
  setThreads,
  type SimilarityMetric,
} from "../../mod.ts";
import { loadSimsimd, type Simsimd } from "../peers/simsimd.ts";
import { Unavailable } from "../peers/subject.ts";
import { addRow, type Context } from "./context.ts";
import { interleave, Probe, Timed } from "./interleave.ts";
import { median } from "./statistics.ts";

const SUITE = "vsa";
const DIM = 10_000;
/** Bytes of a vector of that many trits: 20 blocks of 128 bytes. */
const VECTOR_BYTES = 2560;

/** Times a call that is so short that many make a sample, as microseconds a call. */
class Many extends Timed {
  readonly #calls: number;

  constructor(calls: number, run: () => void) {
    super(() => {
      for (let left = calls; left > 0; left--) run();
    });
    this.#calls = calls;
  }

  get perCall_us(): number[] {
    return this.samples_us.map((sample_us) => sample_us / this.#calls);
  }
}

interface Call {
  name: string;
  run(): void;
}

/** Lets the compilers finish, then measures all calls in turn. */
async function measureCalls(
  context: Context,
  calls: readonly Call[],
  count: number,
) {
  const timed = calls.map(({ run }) => new Many(context.effort.quick ? 10 : count, run));
  for (let left = context.effort.quick ? 0 : 50; left > 0; left--) {
    for (const turn of timed) {
      await turn.take({ ...context.effort, sample_ms: 0, warmup_ms: 0 });
    }
  }
  for (const turn of timed) turn.reset();
  const load = await interleave(timed, context.effort);
  return { load, samples: timed.map((turn) => turn.perCall_us) };
}

/** Binding whole batches: the time of one vector, against what is asked and against the memory. */
async function measureBind(context: Context): Promise<void> {
  const count = context.effort.quick ? 10 : 1000;
  const kinds = ["with one key, in place", "with one key", "in pairs"] as const;
  const names = kinds.map((kind) => `bind 1,000 vectors of 10,000 ${kind}, per vector`);
  if (!names.some((name) => context.wants(SUITE, name))) return;
  using a = HypervectorBatch.random(count, DIM, 1);
  using b = HypervectorBatch.random(count, DIM, 2);
  using out = new HypervectorBatch(count, DIM);
  using key = Hypervector.random(DIM, 3);
  const calls = [
    { moved: 2, run: () => void a.bind(key, { out: a }) },
    { moved: 2, run: () => void a.bind(key, { out }) },
    { moved: 3, run: () => void a.bind(b, { out }) },
  ];
  const timed = calls.map(({ run }) => new Timed(run));
  const probe = new Probe("read", Math.max(count * VECTOR_BYTES, 2 ** 17));
  const load = await interleave([...timed, probe], context.effort);
  const limit = probe.result.median / 1e9;
  for (const [index, { moved }] of calls.entries()) {
    const samples_us = timed[index]!.samples_us.map((sample_us) => sample_us / count);
    const rate = moved * VECTOR_BYTES / median(samples_us) / 1000;
    addRow(context, samples_us, {
      suite: SUITE,
      name: names[index]!,
      subject: "tritter-accel",
      rate,
      rate_unit: "GB/s",
      limit,
      limit_unit: "GB/s",
      share: rate / limit,
      peer: "40 ns",
      ratio: 0.04 / median(samples_us),
      note: "bytes read and written, against a plain read of one batch",
    }, load);
  }
}

/** Similarities of long vectors, as a share of reading them. */
async function measureSimilarity(context: Context): Promise<void> {
  const dim = context.effort.quick ? 100_000 : 1_000_000;
  const metrics = [
    "dot",
    "cosine",
    "hamming",
  ] as const satisfies SimilarityMetric[];
  const names = metrics.map((metric) => `${metric} of two vectors of 1,000,000`);
  if (!names.some((name) => context.wants(SUITE, name))) return;
  using a = Hypervector.random(dim, 1);
  using b = Hypervector.random(dim, 2);
  const timed = metrics.map((metric) => new Timed(() => void a.similarity(b, { metric })));
  const bytes = a.memoryBytes + b.memoryBytes;
  const probe = new Probe("read", bytes - bytes % 1024);
  const load = await interleave([...timed, probe], context.effort);
  const limit = probe.result.median / 1e9;
  for (const [index, name] of names.entries()) {
    const rate = bytes / median(timed[index]!.samples_us) / 1000;
    addRow(context, timed[index]!, {
      ...{
        suite: SUITE,
        name,
        subject: "tritter-accel",
        rate,
        rate_unit: "GB/s",
      },
      ...{ limit, limit_unit: "GB/s", share: rate / limit },
    }, load);
  }
}

/** What bundling takes beyond the call: the time at 10,000 dimensions less that at 64. */
async function measureBundle(context: Context): Promise<void> {
  const cases = [[3, 0.09], [16, 0.6], [64, 2]] as const;
  for (const [count, allowed_us] of cases) {
    const name = `bundle ${count} vectors of 10,000, call taken off`;
    if (!context.wants(SUITE, name)) continue;
    const vectorsOf = (dim: number) =>
      Array.from({ length: count }, (_, seed) => Hypervector.random(dim, seed));
    const [long, short] = [vectorsOf(DIM), vectorsOf(64)];
    const [outLong, outShort] = [new Hypervector(DIM), new Hypervector(64)];
    const { load, samples } = await measureCalls(context, [
      {
        name: "long",
        run: () => void Hypervector.bundle(long, { out: outLong }),
      },
      {
        name: "short",
        run: () => void Hypervector.bundle(short, { out: outShort }),
      },
    ], 500);
    const call_us = median(samples[1]!);
    const native_us = samples[0]!.map((sample_us) => Math.max(sample_us - call_us, 1e-4));
    addRow(context, native_us, {
      ...{ suite: SUITE, name, subject: "tritter-accel" },
      ...{ peer: `${allowed_us} µs`, ratio: allowed_us / median(native_us) },
      note: `the call itself, on 64 dimensions: ${(call_us * 1000).toFixed(0)} ns`,
    }, load);
    for (const vector of [...long, ...short, outLong, outShort]) {
      vector[Symbol.dispose]();
    }
  }
}

/** Plain loops over bytes, as somebody would write them. */
const loops = {
  bind(a: Int8Array, b: Int8Array, out: Int8Array): void {
    for (let index = 0; index < a.length; index++) {
      const sum = a[index]! + b[index]!;
      out[index] = sum > 1 ? sum - 3 : sum < -1 ? sum + 3 : sum;
    }
  },
  dot(a: Int8Array, b: Int8Array): number {
    let sum = 0;
    for (let index = 0; index < a.length; index++) sum += a[index]! * b[index]!;
    return sum;
  },
};

/** Single calls on one vector, against TypeScript, against simsimd, and on next to nothing. */
async function measureSingle(context: Context): Promise<void> {
  const names = [
    "bind two vectors of 10,000",
    "dot of two vectors of 10,000",
  ] as const;
  const short = "a call (bind) on 64 dimensions";
  if (![...names, short].some((name) => context.wants(SUITE, name))) return;
  using a = Hypervector.random(DIM, 1);
  using b = Hypervector.random(DIM, 2);
  using out = new Hypervector(DIM);
  using c = Hypervector.random(64, 1);
  using d = Hypervector.random(64, 2);
  using small = new Hypervector(64);
  const [x, y] = [a.toInt8Array(), b.toInt8Array()];
  const z = new Int8Array(DIM);
  let simsimd: Simsimd | undefined;
  try {
    simsimd = loadSimsimd();
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    context.skipped.add(error.message);
  }
  const bits = [
    new Uint8Array(DIM / 8).fill(0x5a),
    new Uint8Array(DIM / 8).fill(0x33),
  ] as const;
  const sink = new Float64Array(1);
  const calls: Call[] = [
    { name: names[0], run: () => void a.bind(b, { out }) },
    { name: names[1], run: () => void a.dot(b) },
    { name: "TypeScript bind", run: () => loops.bind(x, y, z) },
    { name: "TypeScript dot", run: () => void (sink[0] = loops.dot(x, y)) },
    { name: short, run: () => void c.bind(d, { out: small }) },
  ];
  if (simsimd !== undefined) {
    const { hamming, dot } = simsimd;
    calls.push({ name: "bits", run: () => void (sink[0] = hamming(bits[0], bits[1])) });
    calls.push({ name: "bytes", run: () => void (sink[0] = dot(x, y)) });
  }
  const { load, samples } = await measureCalls(context, calls, 200);
  if (!Number.isFinite(sink[0])) throw new Error("the loops computed nothing");
  const medians = samples.map(median);
  const own = { suite: SUITE, subject: "tritter-accel" };
  const peer = (
    index: number,
    samples_us: readonly number[],
    subject: string,
    factor = 1,
  ) => {
    const name = names[index]!;
    addRow(context, samples_us, { suite: SUITE, name, subject }, load);
    const ratio = factor * median(samples_us) / medians[index]!;
    const described = factor === 1 ? subject : `${factor} x ${subject}`;
    addRow(
      context,
      samples[index]!,
      { ...own, name, peer: described, ratio },
      load,
    );
  };
  peer(0, samples[2]!, "TypeScript");
  peer(1, samples[3]!, "TypeScript");
  if (simsimd !== undefined) {
    peer(1, samples[5]!, "simsimd bit Hamming", 2);
    peer(1, samples[6]!, "simsimd int8 dot");
  }
  const allowed_us = context.runtime.startsWith("Bun") ? 0.15 : 0.4;
  addRow(context, samples[4]!, {
    ...{
      ...own,
      name: short,
      peer: "the time allowed",
      ratio: allowed_us / medians[4]!,
    },
    note: `${allowed_us * 1000} ns are allowed`,
  }, load);
}

/** The nearest of many: one query against the memory, 64 queries against one. */
async function measureSearch(context: Context, threads: number): Promise<void> {
  const rows = context.effort.quick ? 1000 : 100_000;
  const names = ["one query", "64 queries, per query"]
    .map((queries) => `top 10 of 100,000 vectors of 10,000, ${queries}`);
  if (!names.some((name) => context.wants(SUITE, name))) return;
  using items = HypervectorBatch.random(rows, DIM, 1);
  using query = Hypervector.random(DIM, 2);
  using queries = HypervectorBatch.random(64, DIM, 3);
  const single = new Timed(() => void items.topK(query, 10));
  const many = new Timed(() => void items.topK(queries, 10));
  const probe = new Probe("read", items.memoryBytes);
  const load = await interleave([single, many, probe], context.effort);
  const limit = probe.result.median / 1e9;
  const rate = items.memoryBytes / median(single.samples_us) / 1000;
  const own = { suite: SUITE, subject: "tritter-accel", threads };
  addRow(context, single, {
    ...{ ...own, name: names[0]!, rate, rate_unit: "GB/s" },
    ...{ limit, limit_unit: "GB/s", share: rate / limit },
  }, load);
  const perQuery_us = many.samples_us.map((sample_us) => sample_us / 64);
  addRow(context, perQuery_us, {
    ...{ ...own, name: names[1]!, peer: "one at a time" },
    ratio: median(single.samples_us) / median(perQuery_us),
  }, load);
}

export async function measureVsa(context: Context): Promise<void> {
  const threads = getThreads();
  const single: Context = { ...context, threads: 1 };
  setThreads(1);
  try {
    await measureBind(single);
    await measureSimilarity(single);
    await measureBundle(single);
    await measureSingle(single);
  } finally {
    setThreads(threads);
  }
  await measureSearch(context, threads);
}
