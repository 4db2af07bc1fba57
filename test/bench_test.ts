/** How the benchmark report judges and shows what it is given; no time is measured here. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { matMul, matMulNBits } from "../bench/peers/onnx.ts";
import { checkProduct, type Product } from "../bench/peers/subject.ts";
import { markdown } from "../bench/report/markdown.ts";
import { speedTable, updated } from "../bench/report/readme.ts";
import { digits, findProblems, type Report, verdict } from "../bench/report/report.ts";
import { roofline } from "../bench/report/roofline.ts";
import type { Row } from "../bench/report/row.ts";
import { median, quantile, spread } from "../bench/report/statistics.ts";
import { withTarget } from "../bench/report/targets.ts";

const base: Row = {
  suite: "products",
  name: "4096 x 4096, batch 1",
  subject: "tritter-accel",
  runtime: "Bun 1.4.5",
  isa: "avx512",
  threads: 2,
  shape: [4096, 4096],
  batch: 1,
  activations: "int8",
  median_us: 25,
  p10_us: 24,
  p90_us: 27,
};

function reportOf(rows: Row[]): Report {
  const idle = { others: 0, stolen: 0 };
  const limits = [
    { name: "int8 dot products", median: 900, best: 950, unit: "GOP/s" },
    { name: "read of 4 MiB", median: 180, best: 190, unit: "GB/s" },
  ];
  return {
    version: "0.1.0",
    date: "2026-11-23",
    quick: false,
    processor: "Test Processor",
    cores: 2,
    processes: [{
      ...{ runtime: "Bun 1.4.5", isa: "avx512", threads: 2, forced: false, peers: [], skipped: [] },
      ...{ before: idle, during: idle, limits, rows },
    }],
  };
}

test("quantiles are interpolated", () => {
  assert.equal(quantile([1, 2, 3, 4], 0.5), 2.5);
  assert.equal(quantile([5], 0.9), 5);
  assert.equal(median([3, 1, 2]), 2);
  const { median_us, p10_us, p90_us } = spread(Array.from({ length: 11 }, (_, index) => index));
  assert.deepEqual([p10_us, median_us, p90_us], [1, 5, 9]);
});

test("numbers have three digits", () => {
  assert.deepEqual([0.1234, 1.234, 12.34, 123.4, 1234].map(digits), [
    ...["0.123", "1.23", "12.3", "123", "1,234"],
  ]);
});

test("rows get the numbers of the table, by shape, batch, tier and peer", () => {
  const target = (change: Partial<Row>) => {
    const { must, aim } = withTarget({ ...base, ...change });
    return [must, aim];
  };
  const blas = { peer: "OpenBLAS fp32", ratio: 41 };
  assert.deepEqual(target(blas), [40, 50]);
  assert.deepEqual(target({ ...blas, shape: [14336, 4096] }), [40, 50]);
  assert.deepEqual(target({ ...blas, batch: 512 }), [4, 4.5]);
  assert.deepEqual(target({ ...blas, batch: 32, activations: "f32" }), [3.5, 4]);
  assert.deepEqual(target({ ...blas, isa: "avx2", batch: 512 }), [1.5, 2.5]);
  assert.deepEqual(target({ ...blas, shape: [2560, 2560] }), [undefined, undefined]);
  assert.deepEqual(target({ share: 0.8 }), [0.8, 0.9]);
  assert.deepEqual(target({ share: 0.8, batch: 128 }), [0.85, 0.95]);
  assert.deepEqual(target({ peer: "ORT 2-bit", ratio: 3, batch: 32 }), [2, 3]);
  assert.deepEqual(target({ suite: "packing", name: "pack f32, 256 MB", share: 1 }), [0.8, 0.95]);
  assert.deepEqual(target({ suite: "packing", name: "unpack, 10 MB", share: 1 }), [
    ...[undefined, undefined],
  ]);
});

test("a number is judged by its ratio, else by its share, and never when it is none", () => {
  const row = { ...base, must: 2, aim: 3 };
  assert.equal(verdict({ ...row, ratio: 3 }), "aim");
  assert.equal(verdict({ ...row, ratio: 2.9, share: 9 }), "must");
  assert.equal(verdict({ ...row, share: 1.9 }), "missed");
  assert.equal(verdict(row), "missed");
  assert.equal(verdict({ ...row, ratio: NaN }), "missed");
});

test("numbers that are none make a report unusable", () => {
  assert.deepEqual(findProblems(reportOf([base])), []);
  for (const value of [NaN, Infinity, 0, -1]) {
    assert.equal(findProblems(reportOf([{ ...base, rate: value }])).length, 1, `${value}`);
  }
  assert.equal(findProblems(reportOf([])).length, 1);
});

test("missed numbers and busy machines are shown", () => {
  const missed = { ...base, peer: "OpenBLAS fp32", ratio: 39, must: 40, aim: 50, note: "because" };
  const report = reportOf([base, missed]);
  assert.match(markdown(report), /0 of 1 reach what they must/);
  assert.match(markdown(report), /39\.0x \(missed\) \| because/);
  assert.doesNotMatch(markdown(report), /was busy/);
  report.processes[0]!.during = { others: 0.2, stolen: 0 };
  assert.match(markdown(report), /was busy:\*\* its processors were used .* 20 % by other/);
  const kept = reportOf([{ ...base, note: "busy machine: 20 % used by others" }, missed]);
  assert.match(speedTable(kept).replaceAll("\n", " "), /while the machine was busy/);
  assert.doesNotMatch(speedTable(report).replaceAll("\n", " "), /while the machine was busy/);
  assert.match(
    markdown(reportOf([{ ...missed, note: "busy machine" }])),
    /39\.0x \(missed, busy machine\)/,
  );
});

test("the plot holds every point within its axes", () => {
  const plot = roofline(reportOf([base, { ...base, batch: 512, median_us: 20_000 }]))!;
  const spots = [...plot.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)" r="4.5" fill="#c0392b"/g)];
  assert.equal(spots.length, 3, "two points and the legend");
  for (const [, x, y] of spots) assert.ok(Number(x) > 90 && Number(y) > 60 && Number(y) < 560);
  assert.equal(roofline(reportOf([{ ...base, suite: "memory" }])), undefined);
});

test("README.md shows the report that is kept", () => {
  const read = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");
  const readme = read("README.md");
  const report = JSON.parse(read("bench/report.json")) as Report;
  assert.equal(updated(readme, report), readme);
  assert.notEqual(updated(readme, { ...report, date: "another day" }), readme);
  assert.throws(() => updated("no markers", report), /lacks/);
});

test("a wrong product is noticed", () => {
  const product: Product = {
    ...{ rows: 2, cols: 4, batch: 1, trits: Int8Array.of(1, -1, 0, 1, 0, 1, 1, -1) },
    ...{ scales: Float32Array.of(1, 2), input: Float32Array.of(1, 2, 3, 4) },
    weights: new Float32Array(8),
  };
  const subject = { name: "a peer", threads: 1, run() {}, output: Float32Array.of(3, 2) };
  checkProduct(product, subject, 1e-6);
  assert.throws(
    () => checkProduct(product, { ...subject, output: Float32Array.of(3, 2.1) }, 1e-6),
    /a peer computes 2.09/,
  );
});

test("ONNX models carry their weights and nothing much else", () => {
  const weights = Float32Array.from({ length: 128 * 128 }, (_, index) => index);
  const model = matMul(weights, 3, 128, 128);
  assert.ok(model.length - weights.byteLength < 200, `${model.length}`);
  const codes = new Uint8Array(128 * 32).fill(0x66);
  const packed = matMulNBits(codes, new Float32Array(128).fill(1), 3, 128, 128);
  assert.ok(packed.length - codes.length - 512 < 300, `${packed.length}`);
  const text = new TextDecoder("latin1").decode(packed);
  for (const word of ["MatMulNBits", "com.microsoft", "accuracy_level"]) {
    assert.ok(text.includes(word), word);
  }
});
