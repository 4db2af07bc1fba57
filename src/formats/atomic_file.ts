// Files that are there as a whole or not at all, whenever the process or the machine stops: written
// beside their place, forced to the disk, then renamed.

import * as fs from "node:fs";
import { dirname, resolve } from "node:path";
import { tritterError } from "../errors.ts";

/** Ends the names of files that are being written; one that stays behind is of no use to anybody. */
export const UNFINISHED: RegExp = /\.[0-9a-f-]{36}\.part$/;

/** Linux writes at most 2 GiB at a time. */
const LARGEST_WRITE = 2 ** 30;

/** Writes a file piece by piece, replacing one that is there; throws `io` and leaves that one whole. */
export function writeAtomically(path: string, parts: Iterable<Uint8Array>): void {
  const temporary = `${path}.${crypto.randomUUID()}.part`;
  try {
    const file = fs.openSync(temporary, "wx");
    try {
      for (const part of parts) writeAll(file, part);
      fs.fsyncSync(file);
    } finally {
      fs.closeSync(file);
    }
    fs.renameSync(temporary, path);
  } catch (cause) {
    fs.rmSync(temporary, { force: true });
    throw ioError(`Cannot write ${path}`, cause);
  }
  syncDirectory(dirname(path));
}

function writeAll(file: number, part: Uint8Array): void {
  for (let done = 0; done < part.length;) {
    done += fs.writeSync(file, part, done, Math.min(part.length - done, LARGEST_WRITE));
  }
}

/** Makes the new name last through a loss of power; Windows opens no directories and needs no such thing. */
function syncDirectory(path: string): void {
  let directory: number;
  try {
    directory = fs.openSync(path, "r");
  } catch {
    return;
  }
  try {
    fs.fsyncSync(directory);
  } catch {
    // Some file systems refuse it; the file itself is on the disk.
  } finally {
    fs.closeSync(directory);
  }
}

/** Writes a text file in one piece. */
export function writeTextAtomically(path: string, text: string): void {
  writeAtomically(path, [new TextEncoder().encode(text)]);
}

/**
 * Makes a directory that is there as a whole or not at all: `fill` gets a temporary one beside `path`,
 * which takes its name when that is done. Throws `invalid_option` where something is there already, unless
 * `overwrite` is set: then the old directory stays until the new one is complete.
 */
export async function writeDirectoryAtomically(
  path: string,
  fill: (temporary: string) => void | Promise<void>,
  overwrite = false,
): Promise<void> {
  const place = resolve(path);
  const old = checkReplaceable(path, overwrite);
  makeDirectory(dirname(place));
  const temporary = `${place}.${crypto.randomUUID()}.part`;
  const aside = `${place}.${crypto.randomUUID()}.part`;
  try {
    makeDirectory(temporary);
    await fill(temporary);
    moveDirectory(temporary, place, old ? aside : undefined);
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
    fs.rmSync(aside, { recursive: true, force: true });
  }
  syncDirectory(dirname(place));
}

/** Whether there is a directory to replace; throws where something else is there, or one with files. */
export function checkReplaceable(path: string, overwrite = false): boolean {
  let names: string[];
  try {
    names = fs.readdirSync(resolve(path));
  } catch (cause) {
    if ((cause as { code?: unknown }).code === "ENOENT") return false;
    throw ioError(`${path} must be a directory or not exist`, cause);
  }
  if (names.length > 0 && !overwrite) {
    throw tritterError(
      "invalid_option",
      `${path} must not exist or be empty, unless overwrite is set; it holds ${names.length} files`,
    );
  }
  return true;
}

function moveDirectory(from: string, to: string, aside: string | undefined): void {
  try {
    if (aside !== undefined) fs.renameSync(to, aside);
    try {
      fs.renameSync(from, to);
    } catch (cause) {
      if (aside !== undefined) fs.renameSync(aside, to);
      throw cause;
    }
  } catch (cause) {
    throw ioError(`Cannot write ${to}`, cause);
  }
}

/** Makes a directory and those above it; one that is there is left as it is. */
export function makeDirectory(path: string): void {
  try {
    fs.mkdirSync(path, { recursive: true });
  } catch (cause) {
    throw ioError(`Cannot make the directory ${path}`, cause);
  }
}

/** An error of the file system as one of this library. */
export function ioError(what: string, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return tritterError("io", `${what}: ${reason}`, { cause });
}
