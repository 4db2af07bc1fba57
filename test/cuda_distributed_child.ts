// What every rank of cuda_distributed_test.ts does: everything that NCCL carries, with a GPU for each.
// RANK and WORLD_SIZE say who it is, the file TRITTER_NCCL_ID_FILE or MASTER_ADDR and MASTER_PORT where
// the others are.

import assert from "node:assert/strict";
import process from "node:process";
import {
  AdamW,
  averageGradients,
  createCommunicator,
  fromBf16,
  globalNorm,
  ShardedOptimizer,
  Tensor,
  toBf16,
  TokenDataset,
  TrainableTransformer,
  Trainer,
  type TrainerOptions,
  type TrainerStep,
} from "../mod.ts";
import { assertNear, assertSame, assertThrowsCode, randomFloats, wrong } from "./support.ts";
import { ToyModel, ToyOptimizer, toyTokens } from "./toy_model.ts";

const SIZES = [1, 3, 31, 33, 1000, 65_537];

using communicator = createCommunicator({ backend: "nccl", timeoutSeconds: 60 });
const { rank, size, backend } = communicator;
assert.equal(backend, "nccl");
const place = `cuda:${Number(process.env.LOCAL_RANK ?? 0)}` as const;
const ranks = Array.from({ length: size }, (_, index) => index);

function checkArrays(length: number): void {
  const all = ranks.map((other) => randomFloats(length, 100 * length + other));
  const own = all[rank]!;
  const exact = own.map((_, index) => all.reduce((sum, part) => sum + part[index]!, 0));
  const sum = own.slice();
  communicator.allReduce(sum);
  // Fewer than ten additions of numbers below 1, each off by at most 2^-24 of a sum below 10.
  assertNear(sum, exact, 100 * 2 ** -24, "sum");
  const mean = own.slice();
  communicator.allReduce(mean, { operation: "mean" });
  assertNear(mean, exact.map((value) => value / size), 100 * 2 ** -24, "mean");
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
  const added = own.map((_, index) => rounded.reduce((total, part) => total + part[index]!, 0));
  // Every partial sum is at most 10 and may be rounded to the 8 bits of bf16.
  assertNear(half, added, 10 * size * 2 ** -8, "bf16");
  const gathered = communicator.allGather(own);
  const uneven = communicator.allGatherV(own.subarray(0, Math.floor(length / (rank + 1))));
  for (const other of ranks) {
    assertSame(gathered.subarray(other * length, (other + 1) * length), all[other]!);
    assertSame(uneven[other]!, all[other]!.subarray(0, Math.floor(length / (other + 1))));
    const copy = own.slice();
    communicator.broadcast(copy, { root: other });
    assertSame(copy, all[other]!);
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

function checkTensors(): void {
  const values = Float32Array.from({ length: 1000 }, (_, index) => index + rank);
  using tensor = Tensor.from(values, [10, 100], { device: place });
  communicator.allReduce(tensor);
  communicator.wait();
  const total = (index: number) => ranks.reduce((sum, other) => sum + index + other, 0);
  assertSame(tensor.data(), values.map((_, index) => total(index)));
  using gathered = communicator.allGather(tensor);
  assert.deepEqual([gathered.device, gathered.size], [place, 1000 * size]);
  using parts = Tensor.from(new Float32Array(10 * size).fill(rank + 1), [10 * size], {
    device: place,
  });
  using part = communicator.reduceScatter(parts, { operation: "mean" });
  assertNear(part.data(), new Float32Array(10).fill((size + 1) / 2), 1e-6, "part");
  communicator.broadcast(tensor, { root: size - 1 });
  assertThrowsCode(
    () => communicator.allReduce(Tensor.from(values, [1000], { device: "cpu" })),
    "invalid_value",
    /must be on cuda/,
  );
}

/** Gradients that are tensors are averaged where they are, while the device does other work. */
function checkGradients(): void {
  const lengths = [3, 70_001, 1_000_000];
  const exchange = averageGradients(communicator);
  const valuesOf = (which: number, index: number, round: number) =>
    randomFloats(lengths[index]!, 10 * which + index + 100 * round);
  for (let round = 0; round < 3; round += 1) {
    const tensors = lengths.map((length, index) =>
      Tensor.from(valuesOf(rank, index, round), [length], { device: place })
    );
    const parameters = tensors.map((gradient, index) => ({ name: `p${index}`, gradient }));
    const metrics: Record<string, number> = {};
    const step: TrainerStep = wrong({ parameters, metrics, predicted: false, skipped: false });
    using square = Tensor.from(randomFloats(2 ** 20, round), [1024, 1024], { device: place });
    const expected = globalNorm(square);
    for (const parameter of [...parameters].reverse()) {
      exchange.onGradient!(wrong(parameter), step);
      assert.equal(globalNorm(square), expected);
    }
    exchange.afterBackward!(step);
    for (const [index, tensor] of tensors.entries()) {
      const all = ranks.map((other) => valuesOf(other, index, round));
      const mean = all[0]!.map((_, at) => all.reduce((sum, part) => sum + part[at]!, 0) / size);
      assertNear(tensor.data(), mean, 100 * 2 ** -24, "mean");
      tensor[Symbol.dispose]();
    }
    const bytes = 4 * lengths.reduce((sum, length) => sum + length);
    assert.equal(metrics.sentBytes, size === 1 ? undefined : bytes);
  }
  if (size === 1) return;
  const all = ranks.map((other) => fromBf16(toBf16(randomFloats(1000, 7 + other))));
  using tensor = Tensor.from(all[rank]!, [1000], { device: place });
  const parameters = [{ name: "p", gradient: tensor }];
  const half = averageGradients(communicator, { wire: "bf16" });
  const metrics: Record<string, number> = {};
  const step: TrainerStep = wrong({ parameters, metrics, predicted: false, skipped: false });
  half.onGradient!(wrong(parameters[0]), step);
  half.afterBackward!(step);
  const mean = all[0]!.map((_, at) => all.reduce((sum, part) => sum + part[at]!, 0) / size);
  // Sums below `size`, rounded to the 8 bits of bf16 each time.
  assertNear(tensor.data(), mean, size * 2 ** -8, "mean of bf16");
  assert.equal(metrics.sentBytes, 2000);
  assertThrowsCode(
    () => communicator.allReduce(tensor, { wire: "bf16" }),
    "invalid_option",
    /wire/,
  );
}

async function checkTraining(): Promise<void> {
  const losses: number[][] = [];
  for (let run = 0; run < 2; run += 1) {
    const trainer = new Trainer({
      model: new ToyModel(12, 1 + rank),
      data: TokenDataset.fromTokens(toyTokens(2000, 12, 1), 16),
      optimizer: new ToyOptimizer(),
      learningRate: 0.1,
      steps: 20,
      batchSize: 2,
      communicator,
    });
    await trainer.train();
    losses.push(trainer.losses.map(([, loss]) => loss));
  }
  assert.deepEqual(losses[1], losses[0]);
  assert.ok(losses[0]!.at(-1)! < losses[0]![0]!);
}

/** Models on the GPUs: parameters, gradients and what is exchanged stay there. */
async function checkDeviceTraining(): Promise<void> {
  const config = { vocabSize: 12, hiddenSize: 32, intermediateSize: 48, layers: 1, heads: 2 };
  const run = async (more: Partial<TrainerOptions<Tensor<"f32">>> = {}) => {
    using model = new TrainableTransformer(config, { seed: 1 + rank }).to(place);
    using optimizer = new AdamW();
    const trainer = new Trainer({
      optimizer,
      ...more,
      model,
      data: TokenDataset.fromTokens(toyTokens(2000, 12, 1), 16),
      learningRate: 1e-2,
      steps: 20,
      batchSize: 2,
      communicator,
    });
    await trainer.train();
    const values = model.parameters.map(({ data }) => data.data());
    for (const array of values) {
      const all = communicator.allGather(array);
      for (const other of ranks) {
        assertSame(all.subarray(other * array.length, (other + 1) * array.length), array);
      }
    }
    return { losses: trainer.losses.map(([, loss]) => loss), values };
  };
  const [first, again] = [await run(), await run()];
  assert.deepEqual(again.losses, first.losses);
  assert.ok(first.losses.at(-1)! < first.losses[0]! - 0.2);
  const half = await run({ exchange: averageGradients(communicator, { wire: "bf16" }) });
  assert.ok(half.losses.at(-1)! < first.losses[0]! - 0.2);
  using adam = new AdamW();
  const sharded = await run({ optimizer: new ShardedOptimizer(communicator, adam) });
  assert.deepEqual(sharded.losses, first.losses);
  sharded.values.forEach((values, index) => assertSame(values, first.values[index]!));
}

communicator.barrier();
SIZES.forEach(checkArrays);
checkTensors();
checkGradients();
await checkTraining();
await checkDeviceTraining();
communicator.barrier();
console.log(`rank ${rank} of ${size}: done`);
