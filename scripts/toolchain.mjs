// Fetches the pinned Zig compiler from PyPI into .toolchain/, once, and says where it is.
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { capture, fail, root, run } from "./shell.mjs";

const requirements = join(root, "scripts", "toolchain.txt");

/** The pinned version, as in "0.17.1". */
export const zigVersion = /^ziglang==(\S+)/m.exec(readFileSync(requirements, "utf8"))[1];

/** A Python that has pip; pip checks the hashes of what it downloads. */
function findPython() {
  const python = ["python3", "python", "py"].find((name) =>
    capture(name, ["-m", "pip", "--version"])
  );
  return python ??
    fail(
      "building the native library needs Python 3 with pip (python3 -m pip), to fetch Zig from PyPI",
    );
}

/** Installs pinned packages into a folder of .toolchain/, if it is not there yet; gives its path. */
export function installFromPypi(name, requirementsFile) {
  const folder = join(root, ".toolchain", name);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.part`;
  rmSync(partial, { recursive: true, force: true });
  run(findPython(), [
    "-m",
    "pip",
    "install",
    "--quiet",
    "--no-deps",
    "--only-binary=:all:",
    "--require-hashes",
    `--requirement=${requirementsFile}`,
    `--target=${partial}`,
  ]);
  // The folder gets its name only when it is complete, so an interrupted download is repeated.
  renameSync(partial, folder);
  return folder;
}

/** Installs the compiler if it is not there yet; gives the path of its program. */
export function zig() {
  const folder = installFromPypi(`zig-${zigVersion}`, requirements);
  const program = join(folder, "ziglang", process.platform === "win32" ? "zig.exe" : "zig");
  const version = capture(program, ["version"])?.trim();
  if (version !== zigVersion) {
    fail(
      `${program} reports version ${
        version ?? "nothing"
      }, expected ${zigVersion}; delete .toolchain and retry`,
    );
  }
  return program;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) console.log(zig());
