// Builds the native library of this machine into zig-out/lib, when the sources have changed.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { root, run } from "./shell.mjs";
import { zig, zigVersion } from "./toolchain.mjs";

/** Name of the library file by operating system. */
export const libraryFiles = {
  linux: "libtritter.so",
  darwin: "libtritter.dylib",
  windows: "tritter.dll",
};

const system = process.platform === "win32" ? "windows" : process.platform;

/** This machine, as folders below prebuilt/ are named. */
export const platform = `${system}-${process.arch}`;

const output = join(root, "zig-out");
const stampFile = join(output, "stamp");
const library = join(output, "lib", libraryFiles[system] ?? "libtritter.so");

function filesBelow(path) {
  return readdirSync(join(root, path), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** One hash over everything that the library is built from, compiler included. */
export function hashSources() {
  const files = [
    join(root, "build.zig"),
    join(root, "build.zig.zon"),
    ...["lib", "cuda"].filter((folder) => existsSync(join(root, folder))).flatMap(filesBelow),
  ];
  const lines = files.map((file) => {
    const name = file.slice(root.length).replaceAll("\\", "/");
    return `${name} ${createHash("sha256").update(readFileSync(file)).digest("hex")}\n`;
  });
  return createHash("sha256").update(zigVersion).update(lines.sort().join("")).digest("hex");
}

/** Builds unless zig-out already holds what these sources give. */
export function compile() {
  const sources = hashSources();
  const stamp = existsSync(library) && existsSync(stampFile) && readFileSync(stampFile, "utf8");
  if (stamp === sources) return;
  rmSync(stampFile, { force: true });
  run(zig(), ["build"]);
  writeFileSync(stampFile, sources);
}

/** Makes sure that the loader finds a library of these sources, compiling only when none is there. */
export function ensureLibrary() {
  const manifest = join(root, "prebuilt", "manifest.json");
  const known = existsSync(manifest) && JSON.parse(readFileSync(manifest, "utf8"));
  if (known && known.sources === hashSources() && known.libraries[platform]) {
    // The loader prefers a local build, and this one would be of other sources.
    if (existsSync(library)) compile();
    return;
  }
  compile();
}
