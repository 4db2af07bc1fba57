// How fast NCCL adds tensors of several GPUs up through this library: a process for each GPU, which
// the variables of torchrun, or TRITTER_NCCL_ID_FILE with RANK and WORLD_SIZE, tell who they are.
//
//   RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=29500 bun bench/nccl.ts
//
// Rank 0 prints a line of JSON for each size: seconds of a call (the median), and the bus bandwidth, which
// is 2 (n - 1) / n times the bytes over the time, as NVIDIA's nccl-tests define it.

import process from "node:process";
import { createCommunicator, Tensor } from "../mod.ts";

const MEGABYTES = (process.argv[2] ?? "1,16,256,1024").split(",").map(Number);
const WARMUP = 5;
const ROUNDS = 20;

using communicator = createCommunicator({
  backend: "nccl",
  timeoutSeconds: 60,
});
const { rank, size } = communicator;
const device = `cuda:${Number(process.env.LOCAL_RANK ?? rank)}` as const;

for (const megabytes of MEGABYTES) {
  const elements = megabytes * 2 ** 18;
  using tensor = Tensor.from(new Float32Array(elements), [elements], {
    device,
  });
  using probe = Tensor.from(new Float32Array(1), [1], { device });
  // A small all-reduce behind the large ones waits for all of them on all GPUs.
  const settle = () => {
    communicator.allReduce(probe);
    probe.data();
  };
  const calls = Math.max(1, Math.min(20, Math.floor(512 / megabytes)));
  const times: number[] = [];
  for (let round = -WARMUP; round < ROUNDS; round += 1) {
    settle();
    const begun = performance.now();
    for (let call = 0; call < calls; call += 1) communicator.allReduce(tensor);
    settle();
    if (round >= 0) times.push((performance.now() - begun) / 1000 / calls);
  }
  times.sort((a, b) => a - b);
  const seconds = times[Math.floor(times.length / 2)]!;
  const gigabytesPerSecond = 2 * (size - 1) / size * 4 * elements / seconds /
    1e9;
  if (rank === 0) {
    console.log(
      JSON.stringify({ megabytes, ranks: size, seconds, gigabytesPerSecond }),
    );
  }
}
