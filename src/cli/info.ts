// tritter info: the library, the machine.

import process from "node:process";
import { info as libraryInfo } from "../device.ts";
import type { Command } from "./command.ts";
import { bytes, fields } from "./text.ts";

/** Tells which library runs here, and on what. */
export const info: Command = {
  summary: "the library that is loaded, and what of this machine it uses",
  usage: "[--json]",
  arguments: [0, 0],
  options: {},
  async run(_args, _values, { write }) {
    const { handles: _handles, allocatedBytes: _bytes, ...about } = libraryInfo();
    const { bun, deno, node } = process.versions as Record<string, string | undefined>;
    const runtime = bun ? `bun ${bun}` : deno ? `deno ${deno}` : `node ${node}`;
    write(fields({
      version: about.version,
      library: about.library,
      runtime,
      system: `${about.os} ${about.arch}`,
      "instruction set": `${about.isa} (of ${about.isas.join(", ")})`,
      threads: `${about.threads} on ${about.cores} cores`,
      cuda: about.cuda === undefined
        ? "none"
        : `${about.cuda.name}, ${bytes(about.cuda.memoryBytes)}, ${about.cuda.computeCapability}`,
    }));
    return await Promise.resolve({ ...about, runtime });
  },
};
