import type { NativeLibrary } from "./symbols.ts";

/** What a runtime offers for finding and opening the library; deno.ts, bun.ts and node.ts implement it. */
export interface Runtime {
  /** The name of the runtime, for messages. */
  readonly name: "deno" | "bun" | "node";
  /** Opens a shared library and binds some of its functions; throws the runtime's own error. */
  open(path: string, names: readonly (keyof NativeLibrary)[]): NativeLibrary;
  /** Reads an environment variable, or gives undefined when that is not permitted. */
  environment(name: string): string | undefined;
  /** Whether a library may be opened without asking the user. */
  mayOpen(path: string): boolean;
}
