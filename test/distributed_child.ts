// What every rank of distributed_test.ts does; the test starts it under each launcher of MPI there is.

import assert from "node:assert/strict";
import process from "node:process";
import { createCommunicator, fromBf16, toBf16 } from "../mod.ts";
import { assertSame, assertThrowsCode, randomFloats, wrong } from "./support.ts";

const [scenario, timeout = "30"] = process.argv.slice(2);

/** Sizes around those of vectors and of the pieces that a call works in. */
const SIZES = [0, 1, 3, 31, 33, 1000, 65_537, 1_100_003];

/** What a rank contributes; every rank can compute what the others do. */
const valuesOf = (rank: number, length: number) => randomFloats(length, 100 * length + rank);

function collectives(): void {
  using communicator = createCommunicator({ timeoutSeconds: Number(timeout) });
  const { rank, size, backend } = communicator;
  assert.equal(backend, "mpi");
  const ranks = Array.from({ length: size }, (_, index) => index);
  communicator.barrier();
  for (const length of SIZES) {
    const all = ranks.map((other) => valuesOf(other, length));
    const own = all[rank]!;

    const sum = own.slice();
    communicator.allReduce(sum);
    const exact = own.map((_, index) => all.reduce((total, part) => total + part[index]!, 0));
    // Fewer than ten additions of numbers below 1, each off by at most 2^-24 of a sum below 10.
    sum.forEach((value, index) => assert.ok(Math.abs(value - exact[index]!) < 10 * 10 * 2 ** -24));
    // Everybody has the same bits.
    const bits = communicator.allGather(sum);
    for (const other of ranks) {
      assertSame(bits.subarray(other * length, (other + 1) * length), sum);
    }

    const mean = own.slice();
    communicator.allReduce(mean, { operation: "mean" });
    assertSame(mean, sum.map((value) => Math.fround(value * (1 / size))));
    const most = own.slice();
    communicator.allReduce(most, { operation: "max" });
    assertSame(most, own.map((_, index) => Math.max(...all.map((part) => part[index]!))));
    const least = Int32Array.from(own, (value) => Math.round(1000 * value));
    communicator.allReduce(least, { operation: "min" });
    assertSame(
      least,
      own.map((_, index) => Math.min(...all.map((part) => Math.round(1000 * part[index]!))) | 0),
    );

    const half = own.slice();
    communicator.allReduce(half, { wire: "bf16" });
    const rounded = all.map((part) => fromBf16(toBf16(part)));
    const added = own.map((_, index) =>
      rounded.reduce((total, part) => Math.fround(total + part[index]!), 0)
    );
    assertSame(half, fromBf16(toBf16(added)));

    const gathered = communicator.allGather(own);
    for (const other of ranks) {
      assertSame(gathered.subarray(other * length, (other + 1) * length), all[other]!);
    }
    const uneven = communicator.allGatherV(own.subarray(0, Math.floor(length / (rank + 1))));
    for (const other of ranks) {
      assertSame(uneven[other]!, all[other]!.subarray(0, Math.floor(length / (other + 1))));
    }

    for (const root of ranks) {
      const bytes = new Uint8Array(own.slice().buffer);
      communicator.broadcast(bytes, { root });
      assertSame(new Float32Array(bytes.buffer), all[root]!);
    }

    const parts = Float64Array.from(
      { length: size * length },
      (_, index) => (rank + 1) * Math.sin(index),
    );
    const reduced = communicator.reduceScatter(parts, { operation: "max" });
    assert.equal(reduced.length, length);
    reduced.forEach((value, index) => {
      const sine = Math.sin(rank * length + index);
      assert.equal(value, Math.max(sine, size * sine));
    });
  }
  // What is refused takes nobody else with it.
  assertThrowsCode(() => communicator.allReduce(new Uint8Array(3)), "invalid_type", /numbers/);
  assertThrowsCode(() => communicator.allReduce(wrong([1])), "invalid_type", /array of 1/);
  assertThrowsCode(
    () => communicator.broadcast(new Uint8Array(1), { root: size }),
    "invalid_value",
    /root/,
  );
  if (size > 1) {
    assertThrowsCode(
      () => communicator.reduceScatter(new Float32Array(size + 1)),
      "invalid_length",
      /multiple/,
    );
  }
  assertThrowsCode(
    () => communicator.allReduce(new Float64Array(1), { wire: "bf16" }),
    "invalid_option",
    /wire/,
  );
  assertThrowsCode(
    () => communicator.allReduce(new Int32Array(1), { operation: "mean" }),
    "invalid_option",
    /mean/,
  );
  communicator.barrier();
}

/** Rank 1 hangs; the others must notice. */
function hang(): void {
  const communicator = createCommunicator({ timeoutSeconds: Number(timeout) });
  communicator.barrier();
  if (communicator.rank === 1) {
    const cell = new Int32Array(new SharedArrayBuffer(4));
    Atomics.wait(cell, 0, 0, 60_000);
    process.exit(3);
  }
  const begun = performance.now();
  assertThrowsCode(
    () => communicator.allReduce(new Float32Array(10)),
    "timeout",
    /all-reduce .*rank \d.* within 2 s.*died, hangs/,
  );
  const waited = (performance.now() - begun) / 1000;
  assert.ok(waited >= 2 && waited < 10, `${waited} s`);
  assertThrowsCode(() => communicator.barrier(), "io", /failed before/);
  communicator[Symbol.dispose]();
  console.error(`rank ${communicator.rank} noticed`);
  process.exit(4);
}

const scenarios: Record<string, () => void> = { collectives, hang };
scenarios[scenario!]!();
console.log("done");
