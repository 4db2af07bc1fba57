// One measuring process: one runtime, one instruction-set tier. Prints what it measured as JSON in
// the last line; main.ts starts it.
//
//   bun bench/report/measure.ts '{"quick":true}'

import process from "node:process";
import type { LimitKind } from "../../mod.ts";
import { describeOpenBlas } from "../peers/openblas.ts";
import { describeOrt } from "../peers/ort.ts";
import { type Context, createContext } from "./context.ts";
import { measureGradients } from "./gradients.ts";
import { FULL, interleave, Probe, QUICK } from "./interleave.ts";
import { type Load, watchLoad } from "./load.ts";
import { measureMemoryRates } from "./memory_rates.ts";
import { measureModel } from "./model.ts";
import { measureOverhead } from "./overhead.ts";
import { measureProducts } from "./products.ts";
import type { Row } from "./row.ts";
import { measureVsa } from "./vsa.ts";

export interface Options {
  quick?: boolean;
  only?: string;
  /** Whether the tier was forced: then only what is asked of it is measured. */
  forced?: boolean;
}

/** A limit of the machine: GB/s or GOP/s. */
export interface MeasuredLimit {
  name: string;
  median: number;
  best: number;
  unit: string;
}

/** What one process found. */
export interface Measured {
  runtime: string;
  isa: string;
  threads: number;
  forced: boolean;
  /** What the peers say about themselves, or why they are not there. */
  peers: string[];
  skipped: string[];
  before: Load;
  during: Load;
  limits: MeasuredLimit[];
  rows: Row[];
}

const LIMITS: readonly [name: string, kind: LimitKind, size_bytes?: number][] = [
  ["int8 dot products", "dot"],
  ["f32 multiply-adds", "multiplyAdd"],
  ["f32 additions", "add"],
  ["read of 256 KiB", "read", 2 ** 18],
  ["read of 1 MiB", "read", 2 ** 20],
  ["read of 4 MiB", "read", 2 ** 22],
  ["read of 14 MiB", "read", 14 * 2 ** 20],
  ["read of 1 GiB", "read", 2 ** 30],
];

async function measureLimitsOf(
  { effort, wants }: Context,
): Promise<MeasuredLimit[]> {
  const wanted = LIMITS.filter(([name, , size_bytes = 0]) =>
    wants("limits", name) && !(effort.quick && size_bytes > 2 ** 22)
  );
  const probes = wanted.map(([, kind, size_bytes]) => new Probe(kind, size_bytes));
  await interleave(probes, { ...effort, rounds: Math.min(effort.rounds, 3) });
  return probes.map(({ result }, index) => {
    const [name, kind] = wanted[index]!;
    const unit = kind === "read" ? "GB/s" : "GOP/s";
    return { name, median: result.median / 1e9, best: result.best / 1e9, unit };
  });
}

async function measure(options: Options): Promise<Measured> {
  const context = createContext(
    options.quick ? QUICK : FULL,
    options.only,
    options.forced ?? false,
  );
  const forced = context.isForced;
  const beforehand = watchLoad();
  await new Promise((resolve) => setTimeout(resolve, options.quick ? 50 : 500));
  const before = beforehand();
  const meanwhile = watchLoad();
  const limits = await measureLimitsOf(context);
  await measureProducts(context);
  if (!forced) {
    await measureOverhead(context);
    await measureMemoryRates(context);
    await measureModel(context);
    await measureVsa(context);
    await measureGradients(context);
  }
  const { runtime, isa, threads, rows, skipped } = context;
  return {
    runtime,
    isa,
    threads,
    forced,
    peers: forced ? [describeOpenBlas()] : [describeOpenBlas(), describeOrt()],
    skipped: [...skipped],
    before,
    during: meanwhile(),
    limits,
    rows,
  };
}

if (import.meta.main) {
  const measured = await measure(
    JSON.parse(process.argv[2] ?? "{}") as Options,
  );
  console.log(JSON.stringify(measured));
  // Threads of the peers would keep the process waiting.
  process.exit(0);
}
