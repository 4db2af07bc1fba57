// Downloads packages from Debian's archive and unpacks them.
//
// Needs apt-get and dpkg-deb, but not root: nothing is installed. Everything stays in a folder of
// the user's cache, which may be deleted at any time.

import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** Where files of this name are kept between runs. */
export function cacheFolder(name: string): string {
  const { XDG_CACHE_HOME, HOME } = process.env;
  const caches = XDG_CACHE_HOME || (HOME ? join(HOME, ".cache") : tmpdir());
  return join(caches, "tritter-accel", name);
}

/** One line that is written again and again, or, where lines stay, only the last state. */
function showProgress(what: string, done: number, total: number): void {
  const { isTTY } = process.stderr;
  if (!isTTY && done < total) return;
  const filled = Math.round(24 * done / total);
  const bar = isTTY ? `[${"#".repeat(filled)}${".".repeat(24 - filled)}] ` : "";
  const percent = `${Math.floor(100 * done / total)} %`;
  process.stderr.write(`${isTTY ? "\r" : ""}${what} ${bar}${percent}${done < total ? "" : "\n"}`);
}

interface Finished {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end; fails only where it cannot be started. */
function run(program: string, options: readonly string[], cwd: string): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...options], { cwd, stdio: ["ignore", "pipe", "pipe"] });
    const finished: Finished = { status: null, stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (text: string) => finished.stdout += text);
    child.stderr.setEncoding("utf8").on("data", (text: string) => finished.stderr += text);
    child.on("error", (cause) => {
      const message = `cannot start ${program}, which Debian and Ubuntu have: ${cause.message}`;
      reject(new Error(message, { cause }));
    });
    child.on("close", (status) => resolve({ ...finished, status }));
  });
}

/** The line that says most of what a program complained about: apt-get's first error. */
function complaint({ status, stderr }: Finished): string {
  const lines = stderr.trim().split("\n");
  const line = lines.find((line) => line.startsWith("E: ")) ??
    lines.find((line) => line.startsWith("W: ")) ?? lines.at(-1);
  return line || `exit status ${status}`;
}

interface Archive {
  package: string;
  file: string;
  bytes: number;
}

/** Which of the packages apt knows where to get, with their sizes. */
async function findArchives(
  packages: readonly string[],
  options: readonly string[],
  cwd: string,
): Promise<Archive[]> {
  // The exit status says only that some package is unknown; the others are printed all the same.
  const { stdout } = await run(
    "apt-get",
    [...options, "download", "--print-uris", ...packages],
    cwd,
  );
  return [...stdout.matchAll(/^'[^']*' (([^\s_]+)_\S+\.deb) (\d+)/gm)]
    .map(([, file, name, bytes]) => ({ package: name!, file: file!, bytes: Number(bytes) }));
}

/** The bytes in all files below a folder. */
function measureFolder(folder: string): number {
  return fs.readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sum + measureFolder(path);
    // apt-get renames files while this looks.
    return sum + (fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0);
  }, 0);
}

async function download(
  archives: readonly Archive[],
  options: readonly string[],
  folder: string,
): Promise<void> {
  const total = archives.reduce((sum, { bytes }) => sum + bytes, 0);
  const what = `Downloading ${archives.length} packages, ${(total / 1e6).toFixed(1)} MB`;
  const timer = setInterval(
    () => showProgress(what, Math.min(measureFolder(folder), total - 1), total),
    100,
  );
  try {
    const names = archives.map((archive) => archive.package);
    const finished = await run("apt-get", [...options, "-q", "download", ...names], folder);
    if (finished.status !== 0) throw new Error(`apt-get download failed: ${complaint(finished)}`);
  } finally {
    clearInterval(timer);
  }
  showProgress(what, total, total);
}

async function extract(archives: readonly Archive[], from: string, to: string): Promise<void> {
  const what = `Unpacking ${archives.length} packages`;
  for (const [i, archive] of archives.entries()) {
    // A folder gets its name when it is complete.
    const unpacked = join(from, archive.package);
    const finished = await run("dpkg-deb", ["-x", archive.file, unpacked], from);
    if (finished.status !== 0) throw new Error(`dpkg-deb -x failed: ${complaint(finished)}`);
    fs.rmSync(join(to, archive.package), { recursive: true, force: true });
    fs.renameSync(unpacked, join(to, archive.package));
    showProgress(what, i + 1, archives.length);
  }
}

/**
 * Unpacks packages into folders of their names in the cache; returns those that cannot be had.
 *
 * @throws {Error} Where apt-get or dpkg-deb is missing or fails.
 */
export async function fetchPackages(packages: readonly string[], cache: string): Promise<string[]> {
  const work = join(cache, `work-${process.pid}`);
  const downloads = join(work, "downloads");
  fs.mkdirSync(downloads, { recursive: true });
  try {
    // Downloads belong to the user who runs this, also where apt would change to another.
    let options = ["-o", "APT::Sandbox::User="];
    let archives = await findArchives(packages, options, work);
    if (archives.length < packages.length) {
      // Fresh installations have no lists of packages; lists of one's own need no root.
      process.stderr.write("Reading the lists of packages\n");
      for (const name of ["lists", "archives"]) {
        fs.mkdirSync(join(work, name, "partial"), { recursive: true });
      }
      options = [
        ...options,
        ...["-o", `Dir::State::Lists=${join(work, "lists")}`],
        ...["-o", `Dir::Cache=${work}`],
      ];
      const updated = await run("apt-get", [...options, "-q", "update"], work);
      // It succeeds without having reached any server.
      if (/^[EW]: /m.test(updated.stderr)) {
        process.stderr.write(`apt-get update: ${complaint(updated)}\n`);
      }
      archives = await findArchives(packages, options, work);
    }
    if (archives.length > 0) {
      await download(archives, options, downloads);
      await extract(archives, downloads, cache);
    }
    const found = new Set(archives.map((archive) => archive.package));
    return packages.filter((name) => !found.has(name));
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}
