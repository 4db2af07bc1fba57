import process from "node:process";
import type { Runtime } from "./runtime.ts";
import { type NativeLibrary, symbols } from "./symbols.ts";

/** The part of `bun:ffi` in use; Deno projects have no types for it. */
interface BunFfi {
  dlopen(
    path: string,
    table: Record<string, { args: string[]; returns: "i32" }>,
  ): { symbols: Record<string, unknown> };
}

/** Loads the library in Bun; the module is asked for by name so that Deno never tries to resolve it. */
export function bunRuntime(): Runtime {
  return {
    name: "bun",
    open(path, names): NativeLibrary {
      const getBuiltin = process.getBuiltinModule as (name: string) => unknown;
      const ffi = getBuiltin("bun:ffi") as BunFfi;
      const table = Object.fromEntries(names.map((name) => [`tritter_${name}`, {
        args: Object.values(symbols[name])
          .map((type: string) => type.includes(":") ? "ptr" : type),
        returns: "i32" as const,
      }]));
      const opened = ffi.dlopen(path, table).symbols;
      return Object.fromEntries(
        names.map((name) => [name, opened[`tritter_${name}`]]),
      ) as unknown as NativeLibrary;
    },
    environment(variable): string | undefined {
      return process.env[variable];
    },
    mayOpen(): boolean {
      return true;
    },
  };
}
