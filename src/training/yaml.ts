// YAML by the npm package of that name, which is loaded when the first file is read.

import { tritterError } from "../errors.ts";
import { readText } from "../formats/mapped_file.ts";

/** What is used of the package; its own types are not at hand when this module comes from a URL. */
interface Backend {
  parse(text: string, options: { maxAliasCount: number; prettyErrors: boolean }): unknown;
}

/** A file of settings is short; a larger one is a mistake. */
const LARGEST_FILE = 2 ** 20;

/**
 * Reads a YAML file (JSON is YAML, too) of nested settings; names may be written in snake_case.
 *
 * Throws `io`, `invalid_format`, or `unsupported` if the npm package cannot be imported.
 */
export async function readYaml(path: string): Promise<Record<string, unknown>> {
  const text = readText(path, LARGEST_FILE);
  const { parse } = await importYaml();
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 100, prettyErrors: true });
  } catch (cause) {
    throw tritterError("invalid_format", `${path} must be YAML: ${firstLine(cause)}`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw tritterError("invalid_format", `${path} must hold named settings`);
  }
  return camelCased(value, path) as Record<string, unknown>;
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split("\n")[0]!.replace(/:$/, "");
}

/** The names of all settings in the form that TypeScript has; `above` are the values that hold this one. */
function camelCased(value: unknown, path: string, above: readonly unknown[] = []): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (above.includes(value)) {
    throw tritterError("invalid_format", `${path} must not have an alias inside its own anchor`);
  }
  const within = [...above, value];
  if (Array.isArray(value)) return value.map((item) => camelCased(item, path, within));
  const named = new Map<string, unknown>();
  for (const [key, item] of Object.entries(value)) {
    const name = key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    if (named.has(name)) throw tritterError("invalid_format", `${path} must name ${name} once`);
    named.set(name, camelCased(item, path, within));
  }
  return Object.fromEntries(named);
}

let backend: Promise<Backend> | undefined;

function importYaml(): Promise<Backend> {
  backend ??= importFirst().catch((error) => {
    backend = undefined;
    throw error;
  });
  return backend;
}

async function importFirst(): Promise<Backend> {
  try {
    return await importPackage() as Backend;
  } catch (cause) {
    throw tritterError(
      "unsupported",
      `Settings need the npm package yaml, which could not be imported: ${cause}`,
      { cause },
    );
  }
}

/**
 * Its plain name is found where there is a node_modules folder, and in packages of npm, which may use no
 * other; Deno finds the npm: name even when this module comes from a URL.
 */
async function importPackage(): Promise<unknown> {
  try {
    return await import("yaml");
  } catch (error) {
    if (!("Deno" in globalThis)) throw error;
    // deno-lint-ignore no-import-prefix
    // @ts-ignore: TypeScript outside Deno does not know npm: names.
    return await import("npm:yaml@2.9.1");
  }
}
