// Whether somebody else used the machine meanwhile.

import { readFileSync } from "node:fs";
import process from "node:process";

interface Reading {
  /** Time that all CPUs together worked, were taken away by the hypervisor, and passed. */
  busy_s: number;
  stolen_s: number;
  total_s: number;
  own_s: number;
}

/** Shares of the machine's time; all zero where the system does not tell. */
export interface Load {
  /** Work of other processes. */
  others: number;
  /** Time that the hypervisor gave to other machines. */
  stolen: number;
}

const TICKS_PER_SECOND = 100;

function read(): Reading | undefined {
  try {
    const line = readFileSync("/proc/stat", "utf8").split("\n")[0]!;
    const ticks = line.trim().split(/\s+/).slice(1, 9).map((text) => Number(text));
    const [user, nice, system, idle, waiting, interrupts, soft, steal] = ticks as [
      ...[number, number, number, number, number, number, number, number],
    ];
    const busy = user + nice + system + interrupts + soft;
    const own = process.cpuUsage();
    return {
      busy_s: busy / TICKS_PER_SECOND,
      stolen_s: steal / TICKS_PER_SECOND,
      total_s: (busy + idle + waiting + steal) / TICKS_PER_SECOND,
      own_s: (own.user + own.system) / 1e6,
    };
  } catch {
    return undefined;
  }
}

/** Watches from now on; the function returned gives the load since. */
export function watchLoad(): () => Load {
  const before = read();
  return () => {
    const after = read();
    if (before === undefined || after === undefined) {
      return { others: 0, stolen: 0 };
    }
    const total = Math.max(
      after.total_s - before.total_s,
      1 / TICKS_PER_SECOND,
    );
    const others = after.busy_s - before.busy_s - (after.own_s - before.own_s);
    return {
      others: Math.max(0, others) / total,
      stolen: (after.stolen_s - before.stolen_s) / total,
    };
  };
}

/** From these shares on a report says that the machine was busy. */
export const isBusy = ({ others, stolen }: Load): boolean => others > 0.03 || stolen > 0.02;
