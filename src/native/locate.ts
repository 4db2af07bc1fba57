/**
 * Where the native library may be, and the first place that has one that fits.
 *
 * @module
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { tritterError } from "../errors.ts";
import { downloadLibrary } from "./download.ts";
import { findPackaged } from "./packaged.ts";
import type { Runtime } from "./runtime.ts";
import { abiFingerprint, type NativeLibrary, symbols } from "./symbols.ts";

/** A library that has been opened and fits. */
export interface OpenedLibrary {
  library: NativeLibrary;
  path: string;
}

/** A place to look; nobody is asked for leave to open a library of an `optional` one. */
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

/**
 * All folders that may hold a library for this platform. No runtime tells which C library it was built
 * with, but a library for the other one cannot be opened.
 */
const platforms: readonly string[] = platform === "linux-x64"
  ? [platform, `${platform}-musl`]
  : [platform];

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

/** What an installed npm package offers for this platform. */
async function packagedPlaces(failures: string[]): Promise<Place[]> {
  const found = await findPackaged();
  failures.push(...found.failures);
  return found.libraries.map((path) => ({ name: "npm package", path }));
}

/** Opens the first library that fits. */
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
    }
  }
  return undefined;
}

/** Opens the library of a module that lies on this machine. */
export async function openLocal(runtime: Runtime, root: URL): Promise<OpenedLibrary> {
  const failures: string[] = [];
  const at = (path: string) => fileURLToPath(new URL(path, root));
  const local = { name: "local build", path: at(`zig-out/lib/${fileName}`), optional: true };
  const early = openNamed(runtime) ?? openFirst(runtime, [local], failures);
  if (early) return early;
  // An installed npm package has no prebuilt/, and a checkout has no installed npm package.
  const packaged = await packagedPlaces(failures);
  const prebuilt = platforms.map((name): Place => ({
    name: "prebuilt",
    path: at(`prebuilt/${name}/${fileName}`),
  }));
  const opened = openFirst(runtime, packaged, failures) ?? openFirst(runtime, prebuilt, failures);
  if (opened) return opened;
  throw unavailable(failures, permissionHint(runtime, (packaged[0] ?? prebuilt[0]!).path));
}

/** Opens the library of a module that was imported from a URL, downloading it once. */
export async function openRemote(runtime: Runtime, root: URL): Promise<OpenedLibrary> {
  const failures: string[] = [];
  const named = openNamed(runtime);
  if (named) return named;
  const packaged = await packagedPlaces(failures);
  const opened = openFirst(runtime, packaged, failures);
  if (opened) return opened;
  for (const name of platforms) {
    try {
      const path = await downloadLibrary(runtime, root, name);
      const downloaded = openFirst(runtime, [{ name: "download", path }], failures);
      if (downloaded) return downloaded;
    } catch (error) {
      failures.push(`download from ${root.href}: ${messageOf(error)}`);
    }
  }
  if (packaged.length > 0) throw unavailable(failures, permissionHint(runtime, packaged[0]!.path));
  throw unavailable(
    failures,
    `\nDeno needs --allow-net=${root.host} --allow-env=XDG_CACHE_HOME,HOME,LOCALAPPDATA, and ` +
      "--allow-ffi, --allow-read and --allow-write for the user's cache folder",
  );
}
