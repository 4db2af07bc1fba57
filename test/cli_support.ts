// Runs the real command with the runtime that runs the tests.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

/** What the README says that Deno needs, and no more. */
const FLAGS = "Deno" in globalThis
  ? ["run", "--quiet", "--no-prompt", "--no-check", "--allow-ffi", "--allow-read", "--allow-write"]
  : [];

/** How a run of the command ended. */
export interface Run {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** What a run can be given besides its arguments. */
export interface RunOptions {
  /** Standard input. */
  input?: string;
  /** Called with the first piece of standard error, and with what sends the program a signal. */
  onProgress?: (kill: (signal: "SIGINT" | "SIGTERM" | "SIGKILL") => void) => void;
}

/** What the runtime is given to run the command. */
export function programArguments(args: readonly string[]): string[] {
  // The package that reads YAML looks at a few variables.
  const more = FLAGS.length > 0 && args[0] === "train" ? ["--allow-env"] : [];
  return [...FLAGS, ...more, program, ...args];
}

/** Runs the command. */
export function runCommand(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  const child = spawn(process.execPath, programArguments(args), {
    env: { ...process.env, NO_COLOR: "1" },
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin.end(options.input ?? "");
  const run: Run = { status: null, stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => run.stdout += chunk);
  child.stderr.on("data", (chunk) => {
    // Deno takes a program that child.kill has been called for as killed, whatever its status.
    if (run.stderr === "") options.onProgress?.((signal) => process.kill(child.pid!, signal));
    run.stderr += chunk;
  });
  return new Promise((done, fail) => {
    child.on("error", fail);
    child.on("close", (status) => done({ ...run, status }));
  });
}

/** Runs the command, which must succeed, and returns its JSON. */
export async function jsonOf(
  args: readonly string[],
  options?: RunOptions, // deno-lint-ignore no-explicit-any
): Promise<any> {
  const { status, stdout, stderr } = await runCommand([...args, "--json"], options);
  assert.equal(status, 0, stderr);
  assert.equal(stdout.trim().split("\n").length, 1, stdout);
  return JSON.parse(stdout);
}
