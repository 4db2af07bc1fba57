#!/usr/bin/env bun
// The program: finds the command, reads its options, and turns what happens into an exit status.

import process from "node:process";
import { parseArgs } from "node:util";
import { TritterError } from "../errors.ts";
import { bench } from "./bench.ts";
import { type Command, type Context, UsageError } from "./command.ts";
import { generate } from "./generate.ts";
import { info } from "./info.ts";
import { inspect } from "./inspect.ts";
import { quantize } from "./quantize.ts";
import { train } from "./train.ts";

const COMMANDS: Readonly<Record<string, Command>> = {
  info,
  inspect,
  generate,
  quantize,
  train,
  bench,
};

const FAILURE = 1;
const USAGE = 2;
/** What shells give a program that SIGINT ended. */
const INTERRUPTED = 130;

function overview(): string {
  const lines = Object.entries(COMMANDS)
    .map(([name, { summary }]) => `  ${name.padEnd(10)}${summary}`);
  return `usage: tritter <command> [arguments] [options]

${lines.join("\n")}

Options of every command:
  --json      prints the result as JSON on standard output, and nothing else there
  --help      explains the command

Progress goes to standard error. The exit status is 0, 1 after a failure, 2 if the program was
called in a wrong way, 130 if it was interrupted.
`;
}

/** Writes to standard error; work goes on where nobody reads that any more. */
function complain(text: string): void {
  try {
    process.stderr.write(text);
  } catch {
    // Deno throws here what other runtimes report by an event.
  }
}

/** Writes to standard output; a reader that closes the pipe early has seen enough. */
function print(text: string): void {
  try {
    process.stdout.write(text);
  } catch (error) {
    endOutput(error);
  }
}

function endOutput(error: unknown): never {
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (code === "EPIPE") process.exit(0);
  complain(`error: Cannot write to standard output: ${message}\n`);
  process.exit(FAILURE);
}

const usageOf = (name: string) => `usage: tritter ${name} ${COMMANDS[name]!.usage}\n`;

/** One line on a terminal that is written over; elsewhere a line each time. */
class ProgressLine {
  #open = false;

  show(text: string): void {
    const terminal = process.stderr.isTTY === true;
    complain(terminal ? `\r${text}\x1b[K` : `${text}\n`);
    this.#open = terminal;
  }

  end(): void {
    if (this.#open) complain("\n");
    this.#open = false;
  }
}

/** Aborts at the first signal; at the second the process ends there and then, as it would have. */
function interruption(): AbortController {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => controller.abort(new Error("interrupted")));
  }
  return controller;
}

function readArguments(command: Command, args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        ...command.options,
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

async function runCommand(name: string, args: readonly string[]): Promise<number> {
  const command = COMMANDS[name]!;
  const { values, positionals } = readArguments(command, args);
  if (values.help) {
    print(usageOf(name));
    return 0;
  }
  const [least, most] = command.arguments;
  if (positionals.length < least || positionals.length > most) {
    const wanted = least === most ? `${least}` : `${least} to ${most}`;
    throw new UsageError(`${name} takes ${wanted} arguments, got ${positionals.length}`);
  }
  const json = values.json === true;
  const controller = interruption();
  const line = new ProgressLine();
  const context: Context = {
    json,
    signal: controller.signal,
    write(text) {
      line.end();
      if (!json) print(text);
    },
    progress: (text) => line.show(text),
  };
  try {
    const result = await command.run(positionals, values, context);
    line.end();
    if (json) print(`${JSON.stringify(result)}\n`);
  } catch (error) {
    line.end();
    if (!controller.signal.aborted) throw error;
  }
  return controller.signal.aborted ? INTERRUPTED : 0;
}

async function main([name, ...args]: readonly string[]): Promise<number> {
  if (name === undefined || ["help", "--help", "-h"].includes(name)) {
    (name === undefined ? complain : print)(overview());
    return name === undefined ? USAGE : 0;
  }
  if (!Object.hasOwn(COMMANDS, name)) {
    complain(`error: there is no command ${JSON.stringify(name)}\n\n${overview()}`);
    return USAGE;
  }
  try {
    return await runCommand(name, args);
  } catch (error) {
    if (error instanceof UsageError) {
      complain(`error: ${error.message}\n${usageOf(name)}`);
      return USAGE;
    }
    // What is wrong with a file or an option needs no stack trace; anything else is a mistake of ours.
    const known = error instanceof TritterError;
    complain(
      `error: ${known ? error.message : error instanceof Error ? error.stack : String(error)}\n`,
    );
    return FAILURE;
  }
}

process.stdout.on("error", endOutput);
process.stderr.on("error", () => {});
process.exitCode = await main(process.argv.slice(2));
