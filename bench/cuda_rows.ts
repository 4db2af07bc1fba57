// What CUDA benchmarks note for bench/cuda.json: a line of JSON each, in the file that
// TRITTER_BENCH_ROWS names.

import { appendFileSync } from "node:fs";
import process from "node:process";

/** Notes what was measured under a name. */
export function note(
  name: string,
  measured: Record<string, number | string>,
): void {
  const file = process.env["TRITTER_BENCH_ROWS"];
  if (file) appendFileSync(file, JSON.stringify({ name, ...measured }) + "\n");
}
