// Installs the pinned packages of package-lock.json when they are missing or of another version.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root, run } from "./shell.mjs";

/** Whether node_modules holds exactly the versions that package.json names. */
function isInstalled() {
  const { dependencies, devDependencies } = JSON.parse(
    readFileSync(join(root, "package.json"), "utf8"),
  );
  return Object.entries({ ...dependencies, ...devDependencies }).every(([name, version]) => {
    const file = join(root, "node_modules", name, "package.json");
    return existsSync(file) && JSON.parse(readFileSync(file, "utf8")).version === version;
  });
}

/** Makes Bun, Deno and TypeScript available to the scripts. */
export function setup() {
  if (!isInstalled()) run("npm", ["ci"]);
}
