// What a measuring process knows about itself, and the rows it makes.

import { readFileSync } from "node:fs";
import process from "node:process";
import { info } from "../../mod.ts";
import type { Effort, Timed } from "./interleave.ts";
import { isBusy, type Load } from "./load.ts";
import { BUSY_NOTE } from "./report.ts";
import type { Row } from "./row.ts";
import { spread } from "./statistics.ts";
import { withTarget } from "./targets.ts";

export interface Context {
  effort: Effort;
  runtime: string;
  isa: string;
  threads: number;
  /** Whether the tier was forced, to be compared with peers of the same instructions. */
  isForced: boolean;
  rows: Row[];
  /** Peers that could not be measured, with the reason. */
  skipped: Set<string>;
  /** Whether a case was asked for. */
  wants(suite: string, name: string): boolean;
}

/** "Bun 1.4.5" or "Deno 2.9.6". */
function runtimeName(): string {
  const { Deno: deno } = globalThis as { Deno?: { version: { deno: string } } };
  return deno === undefined ? `Bun ${process.versions["bun"]}` : `Deno ${deno.version.deno}`;
}

export function createContext(
  effort: Effort,
  only: string | undefined,
  isForced: boolean,
): Context {
  const { isa, threads } = info();
  const wanted = only?.toLowerCase();
  return {
    effort,
    runtime: runtimeName(),
    isa,
    threads,
    isForced,
    rows: [],
    skipped: new Set(),
    wants: (suite, name) =>
      wanted === undefined ||
      `${suite}: ${name}`.toLowerCase().includes(wanted),
  };
}

/** For the notes of rows: whether the machine was busy while they were measured. */
export const busyNote = (load: Load): string | undefined =>
  isBusy(load)
    ? `${BUSY_NOTE}: ${Math.round((load.others + load.stolen) * 100)} % used by others`
    : undefined;

type Details = Omit<
  Row,
  | "runtime"
  | "isa"
  | "threads"
  | "median_us"
  | "p10_us"
  | "p90_us"
  | "must"
  | "aim"
>;

/** Adds a row of these samples, with what it must reach. */
export function addRow(
  context: Context,
  timed: Timed | readonly number[],
  details: Details & { threads?: number },
  load?: Load,
): Row {
  const samples = "samples_us" in timed ? timed.samples_us : timed;
  const { runtime, isa, threads, rows } = context;
  const row = withTarget({
    runtime,
    isa,
    threads,
    ...details,
    ...spread(samples),
  });
  const note = [row.note, load && busyNote(load)].filter(Boolean).join("; ");
  if (note !== "") row.note = note;
  rows.push(row);
  return row;
}

/** Model name of the processor, where the system tells. */
export function processorName(): string {
  try {
    const text = readFileSync("/proc/cpuinfo", "utf8");
    const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(text)?.[1];
    const family = `family ${field("cpu family")}, model ${field("model")}`;
    return `${field("model name") ?? "unknown processor"} (${family})`;
  } catch {
    return "unknown processor";
  }
}
