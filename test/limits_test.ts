import assert from "node:assert/strict";
import { test } from "node:test";
import { getThreads, type LimitKind, measureLimits, setThreads } from "../mod.ts";
import { assertThrowsCode, onEveryTier, wrong } from "./support.ts";

const KINDS: readonly LimitKind[] = ["read", "dot", "multiplyAdd", "add"];

test("limits are positive, finite and ordered on every tier", () => {
  onEveryTier((label) => {
    for (const kind of KINDS) {
      const { median, best } = measureLimits({ kind, sizeBytes: 2 ** 20, durationMs: 25 });
      // Anything that this library runs on does at least a million operations a second.
      assert.ok(median > 1e6 && Number.isFinite(best) && best >= median, `${label}: ${kind}`);
    }
  });
});

test("the defaults measure memory that any machine has", () => {
  assert.ok(measureLimits({ kind: "read" }).best > 0);
  assert.ok(measureLimits({ kind: "dot", sizeBytes: undefined }).best > 0);
});

test("a measurement takes its time and not much more", () => {
  const begun = performance.now();
  measureLimits({ kind: "add", durationMs: 200 });
  assert.ok(performance.now() - begun >= 200);
});

test("wrong options are refused", () => {
  for (const kind of [undefined, null, "write", "", 0, {}]) {
    assertThrowsCode(() => measureLimits(wrong({ kind })), "invalid_option", /kind/);
  }
  for (const durationMs of [0, -1, 1.5, NaN, Infinity, 1001]) {
    assertThrowsCode(
      () => measureLimits({ kind: "dot", durationMs }),
      "invalid_value",
      /from 1 to 1000/,
    );
  }
  const least = 1024 * getThreads();
  for (const sizeBytes of [0, -1, least - 1, least + 0.5, NaN, 2 ** 30 + 1]) {
    assertThrowsCode(
      () => measureLimits({ kind: "read", sizeBytes }),
      "invalid_value",
      /sizeBytes/,
    );
  }
  for (const options of [undefined, null, 3, "read", []]) {
    assertThrowsCode(() => measureLimits(wrong(options)), "invalid_type", /options/);
  }
  assertThrowsCode(() => measureLimits(wrong({ kind: "read", sizeBytes: "1" })), "invalid_type");
});

test("every number of threads can be measured", () => {
  const before = getThreads();
  try {
    for (const threads of [1, 2, 5]) {
      setThreads(threads);
      assert.ok(measureLimits({ kind: "read", sizeBytes: 2 ** 20, durationMs: 5 }).best > 0);
    }
  } finally {
    setThreads(before);
  }
});
