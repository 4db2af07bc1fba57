/**
 * Fetches the prebuilt library of a module that was imported from a URL, and keeps it in the user's cache.
 *
 * The expected SHA-256 is part of the module, so neither the server nor the cache has to be trusted.
 *
 * @module
 */
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { tritterError } from "../errors.ts";
import { prebuilt, type PrebuiltLibrary } from "./manifest.ts";
import type { Runtime } from "./runtime.ts";

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The folder for files that can be fetched again, by the conventions of the operating system. */
function cacheFolder(runtime: Runtime): string {
  const home = runtime.environment("HOME");
  const folder = process.platform === "win32"
    ? runtime.environment("LOCALAPPDATA")
    : process.platform === "darwin"
    ? home && join(home, "Library", "Caches")
    : runtime.environment("XDG_CACHE_HOME") || (home && join(home, ".cache"));
  if (!folder) {
    throw tritterError("library_unavailable", "the user's cache folder is not known");
  }
  return join(folder, "tritter-accel");
}

/** Reads a cached library; one that is missing or altered counts as absent. */
async function readCached(path: string, expected: PrebuiltLibrary): Promise<boolean> {
  try {
    return await sha256(new Uint8Array(await readFile(path))) === expected.sha256;
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOENT") return false;
    throw error;
  }
}

async function fetchVerified(
  url: URL,
  expected: PrebuiltLibrary,
): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(url);
  if (!response.ok) {
    throw tritterError("library_unavailable", `${url.href} answered ${response.status}`);
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  const actual = await sha256(bytes);
  if (actual !== expected.sha256) {
    throw tritterError(
      "library_unavailable",
      `${url.href} is refused: its SHA-256 is ${actual}, expected ${expected.sha256}`,
    );
  }
  return bytes;
}

/** Makes sure that the library of this platform is in the cache, unaltered; returns its path. */
export async function downloadLibrary(
  runtime: Runtime,
  root: URL,
  platform: string,
): Promise<string> {
  const expected = prebuilt[platform];
  if (!expected) {
    throw tritterError("library_unavailable", `there is no prebuilt library for ${platform}`);
  }
  const folder = join(cacheFolder(runtime), expected.sha256);
  const path = join(folder, expected.file);
  if (await readCached(path, expected)) return path;
  const bytes = await fetchVerified(
    new URL(`prebuilt/${platform}/${expected.file}`, root),
    expected,
  );
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // Another process may do the same now: each writes a file of its own, and a rename is atomic.
  const temporary = join(folder, `${crypto.randomUUID()}.part`);
  try {
    await writeFile(temporary, bytes, { mode: 0o600, flag: "wx" });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  return path;
}
