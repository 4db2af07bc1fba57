/**
 * Where the native library may be, and the first place that has one that fits.
 *
 * @module
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { tritterError } from "../errors.ts";
import { downloadLibrary } from "./download.ts";
import type { Runtime } from "./runtime.ts";
import { abiFingerprint, type NativeLibrary, symbols } from "./symbols.ts";

/** A library that has been opened and fits. */
export interface OpenedLibrary {
  library: NativeLibrary;
  path: string;
}

/** A place to look; `optional` ones may hold a library that does not fit. */
interface Place {
  name: string;
  path: string;
  optional?: boolean;
}

const FILE_NAMES: Record<string, string> = {
  linux: "libtritter.so",
  darwin: "libtritter.dylib",
  win32: "tritter.dll",
};

/** Name of the library file on this operating system. */
const fileName: string = FILE_NAMES[process.platform] ?? "libtritter.so";

/** Folder of this platform below `prebuilt/`. */
const platform: string = `${
  process.platform === "win32" ? "windows" : process.platform
}-${process.arch}`;

/** The environment variable that names a library explicitly. */
const VARIABLE = "TRITTER_ACCEL_LIB";

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Opens a library and makes sure that its functions have the signatures of symbols.ts. */
function openChecked(runtime: Runtime, path: string): NativeLibrary {
  const found = new BigUint64Array(1);
  // Only this one function is bound first: any other may be missing from a library of another version.
  const status = runtime.open(path, ["abi_fingerprint"]).abi_fingerprint(found, 1);
  if (status !== 0 || found[0] !== abiFingerprint) {
    throw tritterError(
      "library_unavailable",
      `it is of another version: its interface is ${found[0]!.toString(16)}, ` +
        `expected ${abiFingerprint.toString(16)}`,
    );
  }
  return runtime.open(path, Object.keys(symbols) as (keyof NativeLibrary)[]);
}

function unavailable(failures: string[], hint: string): Error {
  const tried = failures.map((failure) => `\n  - ${failure}`).join("");
  return tritterError(
    "library_unavailable",
    `The native library for ${platform} could not be loaded; tried:${tried}${hint}`,
  );
}

/** What to tell a user of Deno who has not permitted this library. */
function permissionHint(runtime: Runtime, path: string): string {
  return runtime.mayOpen(path) ? "" : `\nDeno needs --allow-ffi=${path}`;
}

/** The library that the environment names; it is used or it is an error, there is no falling back. */
function openNamed(runtime: Runtime): OpenedLibrary | undefined {
  const path = runtime.environment(VARIABLE);
  if (!path) return undefined;
  try {
    return { library: openChecked(runtime, path), path };
  } catch (error) {
    const failure = `${path} (named by ${VARIABLE}): ${messageOf(error)}`;
    throw unavailable([failure], permissionHint(runtime, path));
  }
}

/** The npm package that carries the library of this platform, if it is installed. */
function npmPlace(failures: string[]): Place[] {
  const specifier = `tritter-accel-${platform}/${fileName}`;
  try {
    return [{ name: "npm package", path: fileURLToPath(import.meta.resolve(specifier)) }];
  } catch {
    failures.push(`npm package tritter-accel-${platform}: not installed`);
    return [];
  }
}

/** Opens the first library that fits; a wrong one is an error unless its place is optional. */
function openFirst(
  runtime: Runtime,
  places: Place[],
  failures: string[],
): OpenedLibrary | undefined {
  for (const { name, path, optional } of places) {
    // Nobody should be asked for leave to open a file that most users do not have.
    if (optional && !runtime.mayOpen(path)) continue;
    try {
      return { library: openChecked(runtime, path), path };
    } catch (error) {
      failures.push(`${name} ${path}: ${messageOf(error)}`);
      const wrong = (error as { code?: unknown }).code === "library_unavailable";
      if (wrong && !optional) break;
    }
  }
  return undefined;
}

/** Opens the library of a module that lies on this machine. */
export function openLocal(runtime: Runtime, root: URL): OpenedLibrary {
  const failures: string[] = [];
  const prebuilt = fileURLToPath(new URL(`prebuilt/${platform}/${fileName}`, root));
  const opened = openNamed(runtime) ?? openFirst(runtime, [
    {
      name: "local build",
      path: fileURLToPath(new URL(`zig-out/lib/${fileName}`, root)),
      optional: true,
    },
    { name: "prebuilt", path: prebuilt },
  ], failures) ?? openFirst(runtime, npmPlace(failures), failures);
  if (!opened) throw unavailable(failures, permissionHint(runtime, prebuilt));
  return opened;
}

/** Opens the library of a module that was imported from a URL, downloading it once. */
export async function openRemote(runtime: Runtime, root: URL): Promise<OpenedLibrary> {
  const failures: string[] = [];
  const opened = openNamed(runtime) ?? openFirst(runtime, npmPlace(failures), failures);
  if (opened) return opened;
  try {
    const path = await downloadLibrary(runtime, root, platform);
    const downloaded = openFirst(runtime, [{ name: "download", path }], failures);
    if (downloaded) return downloaded;
  } catch (error) {
    failures.push(`download from ${root.href}: ${messageOf(error)}`);
  }
  throw unavailable(
    failures,
    `\nDeno needs --allow-net=${root.host} --allow-env=XDG_CACHE_HOME,HOME,LOCALAPPDATA, and ` +
      "--allow-ffi, --allow-read and --allow-write for the user's cache folder",
  );
}
