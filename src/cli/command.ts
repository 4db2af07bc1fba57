// What a command of the program is, and what it gets to work with.

import type { parseArgs, ParseArgsConfig } from "node:util";

/** The values of options, as parseArgs returns them. */
export type Values = ReturnType<typeof parseArgs>["values"];

/** What a command can use of the program. */
export interface Context {
  /** True if standard output gets JSON and nothing else. */
  readonly json: boolean;
  /** Aborted by Ctrl-C and by SIGTERM. */
  readonly signal: AbortSignal;
  /** Writes to standard output, as it is. */
  write(text: string): void;
  /** Shows how far the work is, on standard error. */
  progress(text: string): void;
}

/** A command: what it is called with, and what it does. */
export interface Command {
  /** One line for the overview. */
  readonly summary: string;
  /** Arguments after the command's name, and a line for each option. */
  readonly usage: string;
  /** Names of what must be given besides options, at least and at most. */
  readonly arguments: readonly [least: number, most: number];
  /** Options besides --json and --help. */
  readonly options: NonNullable<ParseArgsConfig["options"]>;
  /** Does the work; what it returns is the result as JSON. */
  run(args: readonly string[], values: Values, context: Context): Promise<object>;
}

/** A mistake in how the program was called. */
export class UsageError extends Error {
  /** The name of the class. */
  override readonly name = "UsageError";
}

/** A number that was given as an option, or undefined. */
export function numberOf(values: Values, name: string): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = typeof text === "string" && text.trim() !== "" ? Number(text) : NaN;
  if (Number.isNaN(value)) {
    throw new UsageError(`--${name} must be a number, got ${JSON.stringify(text)}`);
  }
  return value;
}

/** A list of whole numbers with commas between them, or undefined. */
export function numbersOf(values: Values, name: string): number[] | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  return String(text).split(",").map((part) => numberOf({ [name]: part }, name)!);
}

/** One of a few words, or undefined. */
export function choiceOf<T extends string>(
  values: Values,
  name: string,
  choices: readonly T[],
): T | undefined {
  const text = values[name];
  if (text === undefined || choices.includes(text as T)) return text as T | undefined;
  throw new UsageError(`--${name} must be ${choices.join(" or ")}, got ${JSON.stringify(text)}`);
}

/** A text, or undefined. */
export function textOf(values: Values, name: string): string | undefined {
  return values[name] as string | undefined;
}

/** The texts of an option that may be given again and again. */
export function textsOf(values: Values, name: string): string[] {
  return (values[name] ?? []) as string[];
}
