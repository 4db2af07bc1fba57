import type { Runtime } from "./runtime.ts";
import { type NativeLibrary, symbols } from "./symbols.ts";

/** The part of the `Deno` namespace in use; Bun projects have no types for it. */
interface DenoNamespace {
  dlopen(
    path: string,
    table: Record<string, { name: string; parameters: string[]; result: "i32" }>,
  ): { symbols: unknown };
  env: { get(name: string): string | undefined };
  permissions: {
    querySync(
      descriptor: { name: "env"; variable: string } | { name: "ffi"; path: string },
    ): { state: string };
  };
}

/** Loads the library in Deno, with plain buffers only: pointers would need an unscoped `--allow-ffi`. */
export function denoRuntime(deno: DenoNamespace): Runtime {
  return {
    name: "deno",
    open(path, names): NativeLibrary {
      const table = Object.fromEntries(names.map((name) => [name, {
        name: `tritter_${name}`,
        parameters: Object.values(symbols[name])
          .map((type: string) => type.includes(":") ? "buffer" : type),
        result: "i32" as const,
      }]));
      return deno.dlopen(path, table).symbols as NativeLibrary;
    },
    environment(variable): string | undefined {
      // Asking would stop a script with a prompt for a variable that is rarely set.
      const granted = deno.permissions.querySync({ name: "env", variable }).state === "granted";
      return granted ? deno.env.get(variable) : undefined;
    },
    mayOpen(path): boolean {
      return deno.permissions.querySync({ name: "ffi", path }).state === "granted";
    },
  };
}
