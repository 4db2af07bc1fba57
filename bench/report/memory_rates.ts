// What moves memory: packing, quantising, unpacking; and what weights take in memory.

import {
  info,
  PackedTernary,
  packTernaryWeights,
  quantizeActivationsAbsmax,
  unpackTernaryWeights,
} from "../../mod.ts";
import { addRow, type Context } from "./context.ts";
import { interleave, Probe, Timed } from "./interleave.ts";
import { randomBits } from "./products.ts";
import { median } from "./statistics.ts";

interface Job {
  name: string;
  run(): void;
  note?: string;
}

/** Columns of all matrices here; rows make up the size. */
const COLS = 2560;

/** Runs jobs over the same number of f32 bytes, next to a plain read of as many. */
async function measureJobs(
  context: Context,
  jobs: readonly Job[],
  size_bytes: number,
) {
  const wanted = jobs.filter(({ name }) => context.wants("packing", name));
  if (wanted.length === 0) return;
  const probe = new Probe("read", size_bytes);
  const timed = wanted.map(({ run }) => new Timed(run));
  const load = await interleave([...timed, probe], context.effort);
  const limit = probe.result.median / 1e9;
  for (const [index, { name, note }] of wanted.entries()) {
    const rate = size_bytes / median(timed[index]!.samples_us) / 1000;
    addRow(context, timed[index]!, {
      suite: "packing",
      name,
      subject: "tritter-accel",
      rate,
      rate_unit: "GB/s",
      limit,
      limit_unit: "GB/s",
      share: rate / limit,
      ...(note === undefined ? {} : { note }),
    }, load);
  }
}

async function measureSize(
  context: Context,
  size: string,
  rows: number,
): Promise<void> {
  const names = [
    "pack f32",
    "absmean, quantise and pack",
    "int8 activations",
    "unpack to f32",
  ]
    .map((name) => `${name}, ${size}`);
  if (!names.some((name) => context.wants("packing", name))) return;
  const random = randomBits(rows);
  const shape = [rows, COLS] as const;
  const trits = new Float32Array(rows * COLS);
  for (let index = 0; index < trits.length; index++) {
    trits[index] = random() % 3 - 1;
  }
  const scales = new Float32Array(rows).fill(1);
  const { packed } = packTernaryWeights(trits, scales, shape);
  const floats = new Float32Array(trits.length);
  const bytes = new Int8Array(trits.length);
  const jobs: Job[] = [
    {
      name: names[0]!,
      run: () => void packTernaryWeights(trits, scales, shape, { out: packed }),
    },
    {
      name: names[1]!,
      run: () => PackedTernary.fromWeights(trits, shape)[Symbol.dispose](),
      note: "reads the weights twice and prepares them",
    },
    {
      name: names[2]!,
      run: () => void quantizeActivationsAbsmax(trits, shape, { out: bytes }),
      note: "rate of the f32 side",
    },
    {
      name: names[3]!,
      run: () => void unpackTernaryWeights(packed, scales, shape, { out: floats }),
      note: "rate of the f32 side, which is written",
    },
  ];
  await measureJobs(context, jobs, trits.byteLength);
}

/** Memory of prepared weights, from the allocator, and what fp32 would take. */
function measureMemory(context: Context, rows: number, cols: number): void {
  const name = `${rows} x ${cols}, fp32 over ternary`;
  if (!context.wants("memory", name)) return;
  const trits = new Int8Array(rows * cols).fill(1);
  const scales = new Float32Array(rows).fill(1);
  const before = info().allocatedBytes;
  const start = performance.now();
  using packed = PackedTernary.fromTernary(trits, scales, [rows, cols]);
  const time_us = (performance.now() - start) * 1000;
  // The object counts its own header too; the allocator is asked so that nothing is left out.
  const held = Math.max(info().allocatedBytes - before, packed.memoryBytes);
  addRow(context, [time_us], {
    suite: "memory",
    name,
    subject: "tritter-accel",
    shape: [rows, cols],
    rate: held / 1e6,
    rate_unit: "MB",
    peer: "fp32",
    ratio: 4 * rows * cols / held,
    note: "time is that of preparing the weights, once",
  });
}

export async function measureMemoryRates(context: Context): Promise<void> {
  if (context.effort.quick) {
    await measureSize(context, "1 MB", 100);
    measureMemory(context, 512, 512);
    return;
  }
  await measureSize(context, "10 MB", 1024);
  await measureSize(context, "256 MB", 26214);
  measureMemory(context, 4096, 4096);
}
