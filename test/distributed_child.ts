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

/** Ranks that call different things, or with different lengths, are all told so, and can go on. */
function differ(): void {
  using communicator = createCommunicator({ timeoutSeconds: Number(timeout) });
  const odd = communicator.rank === 1;
  const length = odd ? 70_000 : 10;
  const floats = new Float32Array(length);
  const bytes = (call: () => unknown) =>
    assertThrowsCode(call, "invalid_length", /all ranks to have as many bytes for the /);
  bytes(() => communicator.allReduce(floats));
  bytes(() => communicator.allReduce(floats, { wire: "bf16" }));
  bytes(() => communicator.allGather(floats));
  bytes(() => communicator.broadcast(floats));
  bytes(() => communicator.reduceScatter(new Float32Array(communicator.size * length)));
  const other = (call: () => unknown, message: RegExp) =>
    assertThrowsCode(call, "invalid_value", message);
  const same = new Float32Array(10);
  other(
    () => odd ? communicator.allReduce(same) : communicator.broadcast(same),
    odd ? /at the all-reduce .* at the broadcast/ : /at the broadcast .* at the all-reduce/,
  );
  other(() => odd ? communicator.barrier() : communicator.allGather(same), /at the barrier/);
  other(() => communicator.broadcast(same, { root: Number(odd) }), /a root that are the same/);
  other(
    () => communicator.allReduce(same, { operation: odd ? "max" : "sum" }),
    /elements, an operation/,
  );
  other(() => communicator.allReduce(odd ? new Int32Array(10) : same), /elements, an operation/);
  const ones = new Float32Array(5).fill(1);
  communicator.allReduce(ones);
  assertSame(ones, new Float32Array(5).fill(communicator.size));
}

/** Rank 1 leaves too early: the others are told at once, and do not wait for it again. */
function leave(): void {
  const communicator = createCommunicator({ timeoutSeconds: Number(timeout) });
  if (communicator.rank === 1) {
    assertThrowsCode(() => communicator[Symbol.dispose](), "invalid_value", /at the end/);
  } else {
    const begun = performance.now();
    const call = () => communicator.allReduce(new Float32Array(10));
    assertThrowsCode(call, "invalid_value", /another rank at the end/);
    assertThrowsCode(call, "io", /failed before/);
    communicator[Symbol.dispose]();
    assert.ok(performance.now() - begun < 10_000);
  }
  console.error(`rank ${communicator.rank} noticed`);
}

/** Several communicators in one process are apart, and MPI is left with the last one. */
function several(): void {
  const first = createCommunicator({ timeoutSeconds: Number(timeout) });
  for (let time = 0; time < 3; time += 1) {
    using second = createCommunicator({ timeoutSeconds: Number(timeout) });
    const sum = Float64Array.of(first.rank);
    second.allReduce(sum);
    assert.equal(sum[0], first.size * (first.size - 1) / 2);
    first.barrier();
  }
  first.barrier();
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  for (
    const call of [
      () => first.barrier(),
      () => first.allReduce(new Float32Array(1)),
      () => first.allReduce(new Float32Array(1), { wire: "bf16" }),
      () => first.allGather(new Float32Array(1)),
      () => first.allGatherV(new Float32Array(1)),
      () => first.broadcast(new Float32Array(1)),
      () => first.reduceScatter(new Float32Array(first.size)),
    ]
  ) {
    assertThrowsCode(call, "disposed", /The communicator/);
  }
  assertThrowsCode(() => createCommunicator(), "unsupported", /cannot be started again/);
}

const scenarios: Record<string, () => void> = { collectives, hang, differ, leave, several };
scenarios[scenario!]!();
console.log("done");
