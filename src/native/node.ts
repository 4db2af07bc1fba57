import process from "node:process";
import type { Runtime } from "./runtime.ts";
import { type NativeLibrary, symbols } from "./symbols.ts";

/** The part of `node:ffi` in use; only Node 26 and later have it. */
interface NodeFfi {
  dlopen(
    path: string,
    table: Record<string, { arguments: string[]; return: "i32" }>,
  ): { functions: Record<string, unknown> };
}

/** Loads the library in Node, where there is `node:ffi`; gives undefined in older versions. */
export function nodeRuntime(): Runtime | undefined {
  const getBuiltin = process.getBuiltinModule as ((name: string) => unknown) | undefined;
  const ffi = getBuiltin?.("node:ffi") as NodeFfi | undefined;
  if (ffi === undefined) return undefined;
  return {
    name: "node",
    open(path, names): NativeLibrary {
      const table = Object.fromEntries(names.map((name) => [`tritter_${name}`, {
        arguments: Object.values(symbols[name])
          .map((type: string) => type.includes(":") ? "buffer" : type),
        return: "i32" as const,
      }]));
      const { functions } = ffi.dlopen(path, table);
      return Object.fromEntries(
        names.map((name) => [name, functions[`tritter_${name}`]]),
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
