// The report as data, and how its numbers are written.

import type { Measured } from "./measure.ts";
import type { Row } from "./row.ts";
import { reached } from "./targets.ts";

/** What bench/report.json holds. */
export interface Report {
  /** Of the library. */
  version: string;
  /** Day of the run: 2026-11-23. */
  date: string;
  quick: boolean;
  processor: string;
  cores: number;
  processes: Measured[];
}

/** Three digits: 0.123, 1.23, 12.3, 123, 1,234. */
export function digits(value: number): string {
  const size = Math.abs(value);
  const decimals = size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toLocaleString("en-US", {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

export const percent = (share: number): string => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

export const times = (ratio: number): string => `${digits(ratio)}x`;

/** What a row's must and aim are about, in its own unit. */
export const judged = (row: Row, value: number): string =>
  row.ratio === undefined ? percent(value) : times(value);

/** "Bun" of "Bun 1.4.5". */
export const family = (runtime: string): string => runtime.split(" ")[0]!;

/** What is required, as a line of its own; the runtimes' rows meet in it. */
export function requirement(row: Row): string {
  const what = [row.name, row.activations].filter(Boolean).join(", ");
  const against = row.ratio !== undefined ? `vs ${row.peer}` : `share of the measured limit`;
  return `${row.isa}: ${what}, ${against}`;
}

/** Whether others used the machine while this was measured; `addRow` notes it. */
export const isDisturbed = (row: Row): boolean => row.note?.includes(BUSY_NOTE) ?? false;

/** How such a note begins. */
export const BUSY_NOTE = "busy machine";

export type Verdict = "aim" | "must" | "missed";

export function verdict(row: Row): Verdict {
  const value = reached(row);
  if (!(value >= row.must!)) return "missed";
  return row.aim !== undefined && value >= row.aim ? "aim" : "must";
}

/** Everything that makes a report unusable: numbers that are none. */
export function findProblems({ processes }: Report): string[] {
  const problems: string[] = [];
  const check = (where: string, key: string, value: unknown) => {
    const isPositive = key === "stolen" || key === "others" ||
      (value as number) > 0;
    if (typeof value === "number" && (!Number.isFinite(value) || !isPositive)) {
      problems.push(`${where}: ${key} is ${value}`);
    }
  };
  // A filter may leave a process nothing to do, but not all of them.
  if (processes.every(({ rows }) => rows.length === 0)) problems.push("no rows");
  for (const { runtime, isa, rows, limits, before, during } of processes) {
    for (const each of [...rows, ...limits]) {
      const where = `${runtime}, ${isa}: ${each.name}`;
      for (const [key, value] of Object.entries(each)) {
        check(where, key, value ?? NaN);
      }
    }
    for (const load of [before, during]) {
      for (const [key, value] of Object.entries(load)) {
        check(runtime, key, value);
      }
    }
  }
  return problems;
}
