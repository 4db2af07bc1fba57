// The ways of exchanging that the trial of bench/distributed.ts compares.

import {
  AdamW,
  type AdamWOptions,
  averageGradients,
  type Communicator,
  CompressedAdam,
  createCodec,
  ErrorFeedback,
  type GradientExchange,
  localSteps,
  type Optimizer,
} from "../../mod.ts";

/** What all methods are given alike. */
export interface MethodInput {
  readonly adam: AdamWOptions;
  readonly steps: number;
  readonly seed: number;
}

/** An optimiser and what it exchanges. */
export interface Method {
  /** What the report calls it. */
  readonly label: string;
  /** Highest learning rate, where another one than that of the uncompressed run is better. */
  readonly learningRate?: number;
  make(
    communicator: Communicator,
    input: MethodInput,
  ): { optimizer: Optimizer; exchange: GradientExchange };
}

function entropy(ratio: number): Method["make"] {
  return (communicator, { adam, seed }) => ({
    optimizer: new AdamW(adam),
    exchange: averageGradients(communicator, {
      codec: new ErrorFeedback(createCodec("entropy", { ratio })),
      seed,
      balance: true,
    }),
  });
}

/** The warm-up sends gradients at a tenth of their size, so that it does not dominate what is sent. */
function frozen(codec: () => ReturnType<typeof createCodec>): Method["make"] {
  return (communicator, { adam, steps, seed }) => {
    const optimizer = new CompressedAdam(communicator, {
      ...adam,
      warmupSteps: Math.round(0.25 * steps),
      warmup: { codec: createCodec("entropy", { ratio: 10 }), balance: true },
      codec: codec(),
      seed,
    });
    return { optimizer, exchange: optimizer.exchange };
  };
}

/** In so short a run, momentum would be a higher learning rate: the plain mean of the ranks is better. */
function local(every: number, ratio: number): Method["make"] {
  return (communicator, { adam, seed }) => ({
    optimizer: new AdamW(adam),
    exchange: localSteps(communicator, {
      every,
      codec: new ErrorFeedback(createCodec("entropy", { ratio })),
      seed,
      learningRate: 1,
      momentum: 0,
    }),
  });
}

/** Ranks that step alone want larger steps: their mean is a step of all. */
const LOCAL_RATE = 6e-3;

/** All methods, the least compressed first. */
export const METHODS: Readonly<Record<string, Method>> = {
  none: {
    label: "Gradients as float32",
    make: (communicator, { adam }) => ({
      optimizer: new AdamW(adam),
      exchange: averageGradients(communicator),
    }),
  },
  bf16: {
    label: "Gradients as bf16",
    make: (communicator, { adam }) => ({
      optimizer: new AdamW(adam),
      exchange: averageGradients(communicator, { wire: "bf16" }),
    }),
  },
  entropy10: { label: "Gradients, entropy codec 10x", make: entropy(10) },
  frozen16: {
    label: "Momentum, entropy codec 16x",
    make: frozen(() => createCodec("entropy", { ratio: 16 })),
  },
  entropy32: { label: "Gradients, entropy codec 32x", make: entropy(32) },
  onebit: { label: "1-bit Adam (signs of the momentum)", make: frozen(() => createCodec("sign")) },
  frozen100: {
    label: "Momentum, entropy codec 100x",
    make: frozen(() => createCodec("entropy", { ratio: 100 })),
  },
  local100: {
    label: "DiLoCo 100x: 5 local steps, codec 20x",
    learningRate: LOCAL_RATE,
    make: local(5, 20),
  },
  local500: {
    label: "DiLoCo 500x: 5 local steps, codec 100x",
    learningRate: LOCAL_RATE,
    make: local(5, 100),
  },
};
