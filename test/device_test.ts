import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  cudaAvailable,
  getDevice,
  getThreads,
  info,
  KVCache,
  PackedTernary,
  setDevice,
  setIsa,
  setThreads,
  Tensor,
  ternaryMatmul,
  version,
} from "../mod.ts";
import { assertThrowsCode, wrong } from "./support.ts";

test("the device is the CPU, and asking for one that is not there is an error that changes nothing", () => {
  assert.equal(getDevice(), "cpu");
  for (const device of ["cpu", "auto"] as const) {
    setDevice(device);
    assert.equal(getDevice(), "cpu");
  }
  const absent = cudaAvailable() ? ["cuda:99"] as const : ["cuda", "cuda:0", "cuda:12"] as const;
  for (const device of absent) {
    assertThrowsCode(() => setDevice(device), "device_unavailable", /not available/);
    assert.equal(getDevice(), "cpu");
  }
});

test("device names are checked", () => {
  for (const device of ["gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "", 0, {}, []]) {
    assertThrowsCode(() => setDevice(wrong(device)), "invalid_option", /device must be/);
  }
  assertThrowsCode(() => setDevice(wrong(undefined)), "invalid_option");
  assertThrowsCode(() => setDevice(wrong(null)), "invalid_option");
});

test("every device option refuses a device that is not there", () => {
  const trits = Int8Array.of(1);
  const one = Float32Array.of(1);
  const options = { device: "cuda:99" } as const;
  const calls = [
    () => Tensor.from(one, [1], options),
    () => Tensor.from(one, [1]).to("cuda:99"),
    () => PackedTernary.fromTernary(trits, one, [1, 1], options),
    () => PackedTernary.fromWeights(one, [1, 1], options),
    () => PackedTernary.fromPackedBytes(Uint8Array.of(1), one, [1, 1], options),
    () => PackedTernary.fromTernary(trits, one, [1, 1]).matmul(one, options),
    () => ternaryMatmul(one, Uint8Array.of(1), one, [1, 1], options),
  ];
  for (const call of calls) assertThrowsCode(call, "device_unavailable");
});

test("the version is that of the package", () => {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  assert.equal(version(), manifest.version);
});

test("info describes the library", () => {
  const described = info();
  assert.equal(described.version, version());
  assert.match(described.abi, /^(0x)?[0-9a-f]+$/);
  assert.equal(described.backend, "native");
  assert.ok(described.isas.includes(described.isa));
  assert.equal(described.threads, getThreads());
  assert.ok(described.cores >= 1);
  assert.match(described.library, /libtritter|tritter\.dll/);
  assert.equal("cuda" in described, cudaAvailable());
});

test("info counts native objects and their memory", () => {
  const before = info();
  {
    using _cache = new KVCache({ kvHeads: 2, headDim: 8, maxTokens: 100 });
    const during = info();
    assert.equal(during.handles, before.handles + 1);
    assert.ok(during.allocatedBytes >= before.allocatedBytes + 2 * 2 * 8 * 100 * 2);
  }
  const after = info();
  assert.equal(after.handles, before.handles);
  assert.equal(after.allocatedBytes, before.allocatedBytes);
});

test("threads are set and read back", () => {
  const before = getThreads();
  for (const threads of [1, 2, 3, 255, before]) {
    setThreads(threads);
    assert.equal(getThreads(), threads);
    assert.equal(info().threads, threads);
  }
  for (const threads of [0, -1, 1.5, NaN, Infinity, 256, 2 ** 32]) {
    assertThrowsCode(() => setThreads(threads), "invalid_value", /from 1 to 255/);
  }
  for (const threads of ["2", null, undefined, {}]) {
    assertThrowsCode(() => setThreads(wrong(threads)), "invalid_type");
  }
  assert.equal(getThreads(), before);
});

test("instruction-set tiers are set and read back", () => {
  const { isa, isas } = info();
  for (const tier of isas) {
    setIsa(tier);
    assert.equal(info().isa, tier);
  }
  setIsa(isa);
  for (const tier of ["mmx", "", "AVX2"]) {
    assertThrowsCode(() => setIsa(wrong(tier)), "invalid_option");
  }
  assertThrowsCode(() => setIsa(wrong(2)), "invalid_type");
  assert.equal(info().isa, isa);
});
