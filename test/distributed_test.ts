/** Communicators: a world of one, all processes under mpirun of Open MPI and of MPICH, and what can go wrong. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createCommunicator, info, Tensor } from "../mod.ts";
import { launchers, runRanks, withoutMpi } from "./distributed_support.ts";
import { assertSame, assertThrowsCode, randomFloats, wrong } from "./support.ts";

describe("a world of one", () => {
  it("leaves everything as it is", () => {
    using communicator = createCommunicator({ backend: "local" });
    const { rank, size, backend, timeoutSeconds } = communicator;
    assert.deepEqual([rank, size, backend, timeoutSeconds], [0, 1, "local", 300]);
    const values = randomFloats(1000, 1);
    const copy = values.slice();
    communicator.barrier();
    communicator.wait();
    communicator.broadcast(values);
    for (const operation of ["sum", "mean", "max", "min"] as const) {
      communicator.allReduce(values, { operation });
    }
    assertSame(values, copy);
    for (
      const result of [
        communicator.allGather(values),
        communicator.allGatherV(values)[0]!,
        communicator.reduceScatter(values),
      ]
    ) {
      assertSame(result, copy);
      assert.notEqual(result.buffer, values.buffer);
    }
    using tensor = Tensor.from(copy, [10, 100]);
    communicator.allReduce(tensor);
    assertSame(tensor.data(), values);
    for (const make of [communicator.allGather, communicator.reduceScatter]) {
      // The result is the caller's, who disposes of it.
      using result = make.call(communicator, tensor) as Tensor;
      assert.deepEqual(result.shape, [1000]);
      assertSame(result.data(), values);
    }
    assertSame(tensor.data(), values);
  });

  it("is over when it is disposed, which may happen twice", () => {
    const communicator = createCommunicator({ backend: "local" });
    communicator[Symbol.dispose]();
    communicator[Symbol.dispose]();
    const values = new Float32Array(2);
    for (
      const call of [
        () => communicator.barrier(),
        () => communicator.wait(),
        () => communicator.broadcast(values),
        () => communicator.allReduce(values),
        () => communicator.allGather(values),
        () => communicator.allGatherV(values),
        () => communicator.reduceScatter(values),
      ]
    ) {
      assertThrowsCode(call, "disposed", /The communicator has been disposed/);
    }
  });

  it("rounds what would be sent as bf16", () => {
    using communicator = createCommunicator();
    const values = Float32Array.of(1, 1.00390625, -3.1415927, 0);
    communicator.allReduce(values, { wire: "bf16", operation: "mean" });
    // Eight bits: ties go to even.
    assertSame(values, [1, 1, -3.140625, 0]);
  });

  it("refuses what several ranks would refuse", () => {
    using communicator = createCommunicator({ backend: "local" });
    const refused = (call: () => unknown, code: string, message: RegExp) =>
      assertThrowsCode(call, code, message);
    refused(() => communicator.allReduce(new Uint8Array(1)), "invalid_type", /numbers/);
    refused(() => communicator.allReduce(wrong("x")), "invalid_type", /data must be/);
    refused(() => communicator.allGather(wrong(new Int8Array(1))), "invalid_type", /Int8Array/);
    refused(
      () => communicator.broadcast(new Uint8Array(1), { root: 1 }),
      "invalid_value",
      /root must be an integer from 0 to 0/,
    );
    refused(
      () => communicator.allReduce(new Float32Array(1), { operation: wrong("product") }),
      "invalid_option",
      /operation/,
    );
    refused(
      () => communicator.allReduce(new Float32Array(1), { wire: "bf16", operation: "max" }),
      "invalid_option",
      /wire/,
    );
    using tensor = Tensor.from(new Float32Array(1), [1]);
    using whole = Tensor.from(new Int32Array(1), [1]);
    refused(() => communicator.allReduce(tensor, { wire: "bf16" }), "invalid_option", /wire/);
    refused(
      () => communicator.reduceScatter(tensor, { operation: wrong("product") }),
      "invalid_option",
      /operation/,
    );
    refused(
      () => communicator.allReduce(whole, { operation: "mean" }),
      "invalid_option",
      /mean for a tensor of i32/,
    );
  });
});

describe("createCommunicator", () => {
  it("refuses options that do not fit", () => {
    const refused = (options: unknown, code: string, message: RegExp) =>
      assertThrowsCode(() => createCommunicator(wrong(options)), code, message);
    refused({ backend: "tcp" }, "invalid_option", /backend/);
    refused({ timeoutSeconds: 0 }, "invalid_value", /timeoutSeconds/);
    refused({ timeoutSeconds: "1" }, "invalid_type", /timeoutSeconds/);
    refused({ backend: "local", library: "libmpi.so" }, "invalid_option", /library/);
    refused({ backend: "local", rank: 0 }, "invalid_option", /rank must not be given/);
    refused({ backend: "mpi", library: 3 }, "invalid_type", /library/);
    refused({ backend: "mpi", library: "/nowhere/libmpi.so" }, "library_unavailable", /nowhere/);
    refused({ backend: "mpi", library: "x".repeat(5000) }, "invalid_option", /at most 4095 bytes/);
  });

  it("refuses a library that is not MPI", () => {
    const { library } = info();
    assertThrowsCode(
      () => createCommunicator({ backend: "mpi", library }),
      "library_unavailable",
      /must have the functions of MPI 3, it has no MPI_Initialized/,
    );
  });

  it("throws for NCCL where there is no GPU", { skip: info().cuda !== undefined }, () => {
    assertThrowsCode(
      () => createCommunicator({ backend: "nccl", rank: 0, size: 1 }),
      "device_unavailable",
    );
    assertThrowsCode(
      () => createCommunicator({ backend: "nccl", device: "cpu" }),
      "invalid_option",
      /CUDA device/,
    );
  });
});

if (withoutMpi) it(`several ranks (skipped: ${withoutMpi})`, { skip: true }, () => {});
for (const launcher of launchers) {
  describe(`several ranks of ${launcher.name}`, () => {
    const run = (ranks: number, ...options: string[]) =>
      runRanks(launcher, ranks, "./distributed_child.ts", ...options);

    for (const ranks of [1, 3, 4]) {
      it(`${ranks} work together`, () => {
        const { status, output } = run(ranks, "collectives");
        assert.equal(status, 0, output);
        assert.equal(output.match(/^done$/gm)?.length, ranks, output);
      });
    }

    for (const scenario of ["differ", "several"]) {
      it(
        scenario === "differ"
          ? "are told where they call different things"
          : "may have several communicators, one after another and at once",
        () => {
          const { status, output } = run(3, scenario);
          assert.equal(status, 0, output);
          assert.equal(output.match(/^done$/gm)?.length, 3, output);
        },
      );
    }

    it("notice one that leaves early", () => {
      const { output, seconds } = run(3, "leave");
      // The launcher may end the others when the first is gone.
      assert.match(output, /rank \d noticed/);
      assert.doesNotMatch(output, /AssertionError/);
      assert.ok(seconds < 25, `${seconds} s`);
    });

    it("notice one that hangs", () => {
      const { status, output, seconds } = run(4, "hang", "2");
      assert.notEqual(status, 0);
      // At least one says so before the launcher ends all of them.
      assert.match(output, /rank [023] noticed/);
      assert.ok(seconds < 40, `${seconds} s`);
    });
  });
}
