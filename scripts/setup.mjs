// Installs the pinned packages of package-lock.json when they are missing or of another version.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { capture, root, run } from "./shell.mjs";

/** Whether a folder's node_modules holds exactly the versions that its package.json names. */
function isInstalled(folder) {
  const { dependencies, devDependencies } = JSON.parse(
    readFileSync(join(folder, "package.json"), "utf8"),
  );
  return Object.entries({ ...dependencies, ...devDependencies }).every(([name, version]) => {
    const file = join(folder, "node_modules", name, "package.json");
    return existsSync(file) && JSON.parse(readFileSync(file, "utf8")).version === version;
  });
}

/** Makes Bun, Deno and TypeScript available to the scripts. */
export function setup() {
  if (!isInstalled(root)) run("npm", ["ci"]);
}

/** Installs the pinned packages of a folder that has its own package.json. */
export function ensureInstalled(cwd) {
  if (!isInstalled(cwd)) run("npm", ["ci"], { cwd });
}

/** Installs what the benchmark compares with; without it the report says that it was not there. */
export function ensurePeers() {
  const cwd = join(root, "bench");
  if (isInstalled(cwd)) return;
  console.log("$ npm ci --omit=optional (in bench/)");
  if (capture("npm", ["ci", "--omit=optional"], { cwd, stdio: "inherit" }) === undefined) {
    console.log("npm ci failed in bench/: the peers of npm will be missing");
  }
}
