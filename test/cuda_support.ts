// What the tests of CUDA devices share.

import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { cudaAvailable, info } from "../mod.ts";

const available = cudaAvailable();

/** Declares a test that needs a GPU; without one it is skipped, unless TRITTER_REQUIRE_CUDA is set. */
export function cudaTest(name: string, run: () => void | Promise<void>): void {
  if (available || process.env.TRITTER_REQUIRE_CUDA) return void test(name, run);
  test(`${name} (skipped: there is no CUDA device)`, { skip: true }, () => {});
}

/** Runs something, and fails if it leaves device memory or native objects behind. */
export function assertNothingLeft(run: () => void): void {
  const before = info();
  run();
  const after = info();
  assert.equal(after.handles, before.handles, "handles");
  assert.equal(after.cuda?.allocatedBytes, before.cuda?.allocatedBytes, "device memory");
}
