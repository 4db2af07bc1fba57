/** JavaScript workers that come and go: a runtime may close the library while its threads still wait in it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const binaries = fileURLToPath(new URL("../node_modules/.bin", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tritter-worker-"));
const timeout = 60_000;

/** A product on several threads, large enough that all of them take part. */
const worker = `
import { PackedTernary, setThreads } from ${JSON.stringify(new URL("../mod.ts", import.meta.url))};
setThreads(4);
using weights = PackedTernary.fromWeights(new Float32Array(512 * 512).fill(1), [512, 512]);
const output = weights.matmul(new Float32Array(8 * 512).fill(1));
self.postMessage(output.every((value) => value === 512));
`;

/**
 * Uses the library in one worker after another, never in the main thread, which would keep it open.
 *
 * Linux shows what is mapped: the code that parked threads will wake up in must stay.
 */
const main = `
import { existsSync, readFileSync } from "node:fs";

const maps = "/proc/self/maps";
let right = 0;
for (let left = 20; left > 0; left -= 1) {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  right += await new Promise((done) => worker.onmessage = ({ data }) => done(Number(data)));
  worker.terminate();
  // Time for the runtime to close what the worker has opened.
  await new Promise((done) => setTimeout(done, 50));
  if (existsSync(maps) && !/tritter\\.(so|dylib)/.test(readFileSync(maps, "utf8"))) {
    throw new Error("the library was unloaded while its threads were waiting in it");
  }
}
console.log(right);
`;

writeFileSync(join(folder, "worker.ts"), worker);
writeFileSync(join(folder, "main.ts"), main);
after(() => rmSync(folder, { recursive: true, force: true }));

describe("workers that come and go", { timeout: 2 * timeout }, () => {
  for (const [runtime, ...options] of [["deno", "run", "-A"], ["bun"]] as const) {
    it(`get right results in ${runtime}`, () => {
      const PATH = [binaries, process.env.PATH].join(delimiter);
      const result = spawnSync(runtime, [...options, "main.ts"], {
        cwd: folder,
        env: { ...process.env, PATH },
        encoding: "utf8",
        timeout,
      });
      assert.equal(result.stdout, "20\n", `${result.signal ?? result.status}: ${result.stderr}`);
    });
  }
});
