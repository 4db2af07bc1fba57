// Products of prepared ternary weights, ours and those of the peers.

import { info, PackedTernary } from "../../mod.ts";
import { openBlas } from "../peers/openblas.ts";
import { ortFloat32, ortTwoBits } from "../peers/ort.ts";
import {
  checkProduct,
  FP32_TOLERANCE,
  INT8_TOLERANCE,
  type Product,
  type Subject,
  Unavailable,
} from "../peers/subject.ts";
import { typeScriptLoops } from "../peers/typescript.ts";
import { addRow, type Context } from "./context.ts";
import { interleave, Probe, Timed } from "./interleave.ts";
import { median } from "./statistics.ts";

const SUITE = "products";

interface Case {
  rows: number;
  cols: number;
  batches: readonly number[];
}

const FULL_CASES: readonly Case[] = [
  { rows: 2560, cols: 2560, batches: [1, 8, 32, 128, 512] },
  { rows: 4096, cols: 4096, batches: [1, 8, 32, 128, 512] },
  { rows: 14336, cols: 4096, batches: [1] },
];
const FORCED_CASES: readonly Case[] = [
  { rows: 4096, cols: 4096, batches: [1, 32, 512] },
  { rows: 14336, cols: 4096, batches: [1] },
];
const QUICK_CASES: readonly Case[] = [{
  rows: 512,
  cols: 256,
  batches: [1, 9],
}];

/** Tables of sums are for AVX-512; elsewhere the layout that serves both kinds is the faster one. */
const F32_LAYOUT = info().isa === "avx512" ? "triples" : "planes";

type Weights = Pick<Product, "rows" | "cols" | "trits" | "scales" | "weights">;

type Activations = "int8" | "f32";

/** The same weights, prepared as suits each kind of activations best. */
type Prepared = Record<Activations, PackedTernary>;

/** Small and fast, unlike Math.random the same every time (a linear congruential generator). */
export function randomBits(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state >>> 8;
  };
}

function makeWeights(rows: number, cols: number): Weights {
  const random = randomBits(rows);
  const trits = new Int8Array(rows * cols);
  for (let index = 0; index < trits.length; index++) {
    trits[index] = random() % 3 - 1;
  }
  const scales = Float32Array.from(
    { length: rows },
    () => 0.5 + random() / 2 ** 24,
  );
  const weights = new Float32Array(trits.length);
  for (let index = 0; index < trits.length; index++) {
    weights[index] = trits[index]! * scales[Math.floor(index / cols)]!;
  }
  return { rows, cols, trits, scales, weights };
}

function ours(
  prepared: Prepared,
  product: Product,
  activations: Activations,
): Subject {
  const packed = prepared[activations];
  const output = new Float32Array(product.batch * product.rows);
  const options = { activations, out: output };
  return {
    name: "tritter-accel",
    threads: 0,
    output,
    run: () => void packed.matmul(product.input, options),
  };
}

/** The fastest of several subjects, by a few calls each after as many to get compiled. */
async function fastest(subjects: readonly Subject[]): Promise<Subject> {
  const times = [];
  for (const { run } of subjects) {
    const timed = new Timed(run);
    await timed.take({
      quick: true,
      rounds: 1,
      sample_ms: 0,
      warmup_ms: 60,
      pause_ms: 0,
    });
    times.push(median(timed.samples_us));
  }
  return subjects[times.indexOf(Math.min(...times))]!;
}

/** Every peer that can be had, checked; the others are noted with their reasons. */
async function peersOf(context: Context, product: Product): Promise<Subject[]> {
  const { threads, skipped } = context;
  const peers: Subject[] = [];
  const makers: [() => Subject | Promise<Subject>, number][] = [
    [() => openBlas(product, threads), FP32_TOLERANCE],
  ];
  // The others choose their instructions themselves, whatever is forced on us.
  if (!context.isForced) {
    makers.push([() => ortFloat32(product, threads), FP32_TOLERANCE]);
    makers.push([() => ortTwoBits(product, threads), INT8_TOLERANCE]);
    if (product.batch === 1) {
      const loops = typeScriptLoops(product);
      makers.push([() => fastest(loops), FP32_TOLERANCE]);
    }
  }
  for (const [make, tolerance] of makers) {
    try {
      const peer = await make();
      await peer.run();
      checkProduct(product, peer, tolerance);
      peers.push(peer);
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      skipped.add(error.message);
    }
  }
  return peers;
}

/** "TypeScript, 8 sums" is the peer TypeScript. */
const peerName = (subject: Subject) => subject.name.split(",")[0]!;

/** Where the dot products of one token take longer than reading the weights, says so. */
function dotProductNote(
  dot_s: number,
  read_s: number,
  median_us: number,
): { note?: string } {
  const dot_us = dot_s * 1e6;
  if (dot_s <= read_s) return {};
  return {
    note: `its dot products alone take this processor ${dot_us.toFixed(1)} µs, the read ` +
      `${(read_s * 1e6).toFixed(1)} µs: ${
        (dot_us / median_us * 100).toFixed(0)
      } % of the tighter limit`,
  };
}

async function measureCase(
  context: Context,
  product: Product,
  prepared: Prepared,
) {
  const { rows, cols, batch } = product;
  const name = `${rows} x ${cols}, batch ${batch}`;
  const shape = [rows, cols] as const;
  const kinds = ["int8", "f32"] as const;
  const own = kinds.map((activations) => ours(prepared, product, activations));
  for (const [index, subject] of own.entries()) {
    void subject.run();
    checkProduct(
      product,
      subject,
      index === 0 ? INT8_TOLERANCE : FP32_TOLERANCE,
    );
  }
  const peers = await peersOf(context, product);
  const subjects = [...own, ...peers];
  const timed = subjects.map((subject) => new Timed(subject.run));
  // One token: reading the weights is the limit; more: the multiply-adds.
  const weight_bytes = rows * cols / 4;
  const dot = new Probe("dot");
  const probe = batch === 1 ? new Probe("read", weight_bytes) : dot;
  const probes = batch === 1 ? [probe, dot] : [dot];
  const load = await interleave(
    [...timed.slice(0, 2), ...probes, ...timed.slice(2)],
    context.effort,
  );

  const work = batch === 1 ? weight_bytes : 2 * rows * cols * batch;
  const unit = batch === 1 ? "GB/s" : "GOP/s";
  const limit = probe.result.median / 1e9;
  for (const [index, activations] of kinds.entries()) {
    const base = {
      suite: SUITE,
      name,
      subject: "tritter-accel",
      shape,
      batch,
      activations,
    };
    const median_us = median(timed[index]!.samples_us);
    const rate = work / median_us / 1000;
    const isLimited = batch === 1 || activations === "int8";
    addRow(context, timed[index]!, {
      ...base,
      rate,
      rate_unit: unit,
      ...(isLimited ? { limit, limit_unit: unit, share: rate / limit } : {}),
      ...(batch === 1 && activations === "int8"
        ? dotProductNote(
          2 * rows * cols / dot.result.median,
          weight_bytes / limit / 1e9,
          median_us,
        )
        : {}),
    }, load);
    for (const [at, peer] of peers.entries()) {
      const ratio = median(timed[at + 2]!.samples_us) / median_us;
      addRow(
        context,
        timed[index]!,
        { ...base, peer: peerName(peer), ratio },
        load,
      );
    }
  }
  for (const [at, peer] of peers.entries()) {
    const samples = timed[at + 2]!;
    addRow(context, samples, {
      suite: SUITE,
      name,
      subject: peerName(peer),
      threads: peer.threads,
      shape,
      batch,
      rate: 2 * rows * cols * batch / median(samples.samples_us) / 1000,
      rate_unit: "GOP/s",
      ...(peer.name === peerName(peer) ? {} : { note: peer.name }),
    }, load);
    peer.dispose?.();
  }
}

/** Measures all shapes and batches that were asked for. */
export async function measureProducts(context: Context): Promise<void> {
  const cases = context.effort.quick ? QUICK_CASES : context.isForced ? FORCED_CASES : FULL_CASES;
  for (const each of cases) {
    const { rows, cols } = each;
    const batches = each.batches
      .filter((batch) => context.wants(SUITE, `${rows} x ${cols}, batch ${batch}`));
    if (batches.length === 0) continue;
    const weights = makeWeights(rows, cols);
    using packed = PackedTernary.fromTernary(weights.trits, weights.scales, [
      rows,
      cols,
    ]);
    using tables = PackedTernary.fromTernary(weights.trits, weights.scales, [
      rows,
      cols,
    ], {
      layout: F32_LAYOUT,
    });
    const prepared = { int8: packed, f32: tables };
    for (const batch of batches) {
      const random = randomBits(batch);
      const input = Float32Array.from(
        { length: batch * cols },
        () => random() / 2 ** 23 - 1,
      );
      await measureCase(context, { ...weights, batch, input }, prepared);
    }
  }
}
