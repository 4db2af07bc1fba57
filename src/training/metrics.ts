// A line of JSON for every step, in a file that stays true when training goes on from a checkpoint.

import * as fs from "node:fs";
import { dirname } from "node:path";
import { tritterError } from "../errors.ts";
import { ioError, makeDirectory, writeTextAtomically } from "../formats/atomic_file.ts";

/** A line: the step that it is about, and numbers. */
export type MetricsLine = { readonly step: number } & Readonly<Record<string, number>>;

/** Appends lines to a file. */
export class MetricsFile {
  readonly #path: string;
  readonly #file: number;

  /**
   * Opens a file. Lines about steps after `step` are cut off, and so is a line that was never
   * finished: a run that was killed had gone on after the checkpoint that training resumes from.
   */
  constructor(path: string, step: number) {
    this.#path = path;
    makeDirectory(dirname(path));
    cutAfter(path, step);
    try {
      this.#file = fs.openSync(path, "a");
    } catch (cause) {
      throw ioError(`Cannot write ${path}`, cause);
    }
  }

  /** Adds a line; numbers that JSON cannot hold become null. */
  append(line: MetricsLine): void {
    try {
      fs.writeSync(this.#file, `${JSON.stringify(line)}\n`);
    } catch (cause) {
      throw ioError(`Cannot write ${this.#path}`, cause);
    }
  }

  /** Forces the lines to the disk. */
  flush(): void {
    fs.fsyncSync(this.#file);
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    fs.closeSync(this.#file);
  }
}

/** Refuses a file that an earlier run has written: a new one would cut its lines off. */
export function checkNoMetrics(path: string): void {
  if (readLines(path) === "") return;
  throw tritterError(
    "invalid_option",
    `metricsFile must be empty or not there, or resume be true, got ${path} with lines`,
  );
}

function readLines(path: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (cause) {
    if ((cause as { code?: unknown }).code === "ENOENT") return "";
    throw ioError(`Cannot read ${path}`, cause);
  }
}

function cutAfter(path: string, step: number): void {
  const text = readLines(path);
  const lines = text.split("\n");
  // What follows the last line feed is empty, or a line that was never finished.
  const kept = lines.slice(0, -1).filter((line) => stepOf(line) <= step);
  const rest = kept.map((line) => `${line}\n`).join("");
  if (rest !== text) writeTextAtomically(path, rest);
}

/** Lines that somebody else wrote are kept. */
function stepOf(line: string): number {
  try {
    const value: unknown = JSON.parse(line)?.step;
    return typeof value === "number" ? value : -Infinity;
  } catch {
    return -Infinity;
  }
}
