/** NCCL: one rank for each GPU, up to two, which meet through a file and through an address. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { createCommunicator, setDevice } from "../mod.ts";
import { cudaTest } from "./cuda_support.ts";
import { assertThrowsCode } from "./support.ts";

const child = fileURLToPath(new URL("./cuda_distributed_child.ts", import.meta.url));

/** How many ranks there can be: a second GPU shows by its name. */
function ranksPossible(): number {
  try {
    setDevice("cuda:1");
    return 2;
  } catch {
    return 1;
  } finally {
    setDevice("cpu");
  }
}

async function runRanks(ranks: number, variables: Record<string, string>): Promise<void> {
  const flags = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
  const ended = Array.from({ length: ranks }, (_, rank) => {
    const env = {
      ...process.env,
      ...variables,
      RANK: String(rank),
      LOCAL_RANK: String(rank),
      WORLD_SIZE: String(ranks),
    };
    const run = spawn(process.execPath, [...flags, child], { env, stdio: "inherit" });
    return new Promise<number | null>((resolve) => run.on("exit", resolve));
  });
  assert.deepEqual(await Promise.all(ended), new Array(ranks).fill(0));
}

cudaTest("ranks that meet through a file work together", async () => {
  const folder = mkdtempSync(join(tmpdir(), "nccl-"));
  try {
    await runRanks(ranksPossible(), { TRITTER_NCCL_ID_FILE: join(folder, "id") });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

cudaTest("ranks that meet at an address work together", async () => {
  await runRanks(ranksPossible(), { MASTER_ADDR: "127.0.0.1", MASTER_PORT: "29541" });
});

cudaTest("a rank that never comes is missed in time", () => {
  const begun = performance.now();
  assertThrowsCode(
    () =>
      createCommunicator({
        backend: "nccl",
        rank: 1,
        size: 2,
        idFile: "no-such-id",
        timeoutSeconds: 1,
      }),
    "timeout",
    /rank 0 to write .* within 1 s/,
  );
  assert.ok(performance.now() - begun < 20_000);
});
