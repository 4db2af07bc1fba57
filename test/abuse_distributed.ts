// The same for what several processes do together; here each is alone.

import * as api from "../mod.ts";
import { ToyModel } from "./toy_model.ts";

type Calls = Record<string, () => unknown[]>;

const alone = () => api.createCommunicator({ backend: "local" });
const codec = () => api.createCodec("sign");

/** Made with `new` by anybody. */
export const DISTRIBUTED_CONSTRUCTED: Calls = {
  CompressedAdam: () => [
    alone(),
    {
      warmupSteps: 2,
      warmup: { wire: "bf16" },
      codec: codec(),
      seed: 1,
      beta1: 0.9,
      epsilon: 1e-8,
    },
  ],
  ShardedOptimizer: () => [alone(), new api.AdamW()],
};

/** One that compresses already. */
function compressing(): api.CompressedAdam {
  const adam = new api.CompressedAdam(alone(), { warmupSteps: 1 });
  const { parameters } = new ToyModel(4);
  for (let step = 0; step < 2; step += 1) adam.step(parameters, 0.1);
  return adam;
}

export const DISTRIBUTED_VALID: Calls = {
  ...DISTRIBUTED_CONSTRUCTED,
  createCommunicator: () => [{ backend: "local", timeoutSeconds: 1 }],
  averageGradients: () => [alone(), { wire: "bf16", bucketBytes: 64 }],
  localSteps: () => [
    alone(),
    { every: 2, learningRate: 0.7, momentum: 0.9, nesterov: true, codec: codec(), seed: 1 },
  ],
  "CompressedAdam#step": () => [new ToyModel(4).parameters, 0.1],
  "CompressedAdam#loadState": () => [compressing().state()],
  "ShardedOptimizer#step": () => [new ToyModel(4).parameters, 0.1],
  "ShardedOptimizer#loadState": () => [new api.AdamW().state()],
};

export const DISTRIBUTED_INSTANCES: Record<string, () => unknown> = {
  CompressedAdam: compressing,
  ShardedOptimizer: () => new api.ShardedOptimizer(alone(), new api.AdamW()),
};
