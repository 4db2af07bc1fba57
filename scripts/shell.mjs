// Runs programs for the other scripts; needs nothing but Node, because it runs before anything is installed.
import { spawnSync } from "node:child_process";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** Folder of the repository. */
export const root = fileURLToPath(new URL("../", import.meta.url));

/** Environment for every program: the pinned tools first, and Deno trusts what the system trusts. */
export const environment = {
  ...process.env,
  PATH: [join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter),
  DENO_TLS_CA_STORE: process.env.DENO_TLS_CA_STORE ?? "system",
  DENO_NO_UPDATE_CHECK: "1",
};

// Programs that npm installs are .cmd files on Windows, which only a shell can start.
const shell = process.platform === "win32";

/** Runs a program in the repository with its output shown; ends this process when it fails. */
export function run(program, args, options = {}) {
  console.log(`$ ${[program, ...args].join(" ")}`);
  const result = spawnSync(program, args, {
    cwd: root,
    env: environment,
    stdio: "inherit",
    shell,
    ...options,
  });
  if (result.error) fail(`${program} could not be started: ${result.error.message}`);
  if (result.status !== 0) {
    fail(`${program} ${args.join(" ")} failed with ${result.signal ?? `status ${result.status}`}`);
  }
}

/** Runs a program quietly; gives its standard output, or undefined when it fails. */
export function capture(program, args, options = {}) {
  const result = spawnSync(program, args, {
    cwd: root,
    env: environment,
    encoding: "utf8",
    shell,
    ...options,
  });
  return result.status === 0 ? result.stdout : undefined;
}

/** Ends this process with a message. */
export function fail(message) {
  console.error(`error: ${message}`);
  process.exit(1);
}
