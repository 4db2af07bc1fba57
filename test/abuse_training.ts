// The same for mixed precision, accumulation and predicted gradients.

import * as api from "../mod.ts";

const SIZES = [4, 3];
const gradients = (): Float32Array[] => [Float32Array.of(1, 2, 3, 4), Float32Array.of(5, 6, 7)];
const noClock = (): number => 0;
const linear = () => new api.DeterministicPredictor(SIZES, { warmupSteps: 1 });

/** A predictor that has seen enough. */
function warm<P extends api.Predictor>(predictor: P): P {
  for (let step = 0; step < 3; step += 1) predictor.record(gradients());
  return predictor;
}

/** A trainer in a step of the phase. */
function inPhase<T extends api.PhaseTrainer>(trainer: T, phase: api.Phase): T {
  while (trainer.next().phase !== phase) {
    if (trainer.phase === "predict") trainer.predict({ out: gradients() });
    else if (trainer.phase === "correct") trainer.correct(gradients());
    else trainer.recordFull(gradients());
    trainer.recordLoss(1);
  }
  return trainer;
}

const short = { fullSteps: 2, predictSteps: 2, correctEvery: 1 } as const;
const history = () => {
  const made = new api.LossHistory({ rollingWindow: 2, clock: noClock });
  for (const loss of [3, 2, 1, 9]) made.record(loss, "full");
  return made;
};

type Calls = Record<string, () => unknown[]>;

/** Made with `new` by anybody, and the arguments for it. */
export const TRAINING: Calls = {
  LossScaler: () => [{
    initialScale: 8,
    growthFactor: 2,
    backoffFactor: 0.5,
    growthInterval: 3,
    minScale: 1,
    maxScale: 16,
  }],
  GradientAccumulator: () => [SIZES],
  TernaryGradientAccumulator: () => [SIZES, {
    accumulationSteps: 2,
    rounding: "deterministic",
    threshold: 1,
    seed: 1n,
  }],
  GradientPredictor: () => [SIZES, {
    momentum: 0.5,
    predictionSteps: 2,
    correctionWeight: 1,
    residualThreshold: 1,
  }],
  DeterministicPredictor: () => [SIZES, {
    warmupSteps: 2,
    historyWindow: 2,
    predictionHorizon: 3,
    historyDecay: 0.5,
    velocityScale: 0.5,
    residualThreshold: Infinity,
  }],
  PhaseTrainer: () => [SIZES, {
    ...short,
    warmupSteps: 1,
    adaptive: { worse: [1, -1], better: [-1, 1], full: [1, 9], predict: [1, 9] },
    lossThreshold: 0.1,
    lossHistory: { maxHistory: 5 },
    clock: noClock,
  }],
  DeterministicPhaseTrainer: () => [SIZES, { ...short, warmupSteps: 3, historyWindow: 2 }],
  LossHistory: () => [{
    maxHistory: 5,
    rollingWindow: 2,
    spikeThreshold: 2,
    divergenceThreshold: 2,
    convergenceWindow: 4,
    convergenceThreshold: 0.1,
    clock: noClock,
  }],
};

export const VALID_ON_TRAINING: Calls = {
  ...TRAINING,
  toBf16: () => [new Float32Array(4), { out: new Uint16Array(4) }],
  fromBf16: () => [new Uint16Array(4), { out: new Float32Array(4) }],
  toF16: () => [new Float32Array(4), { out: new Uint16Array(4) }],
  fromF16: () => [new Uint16Array(4), { out: new Float32Array(4) }],
  hasOverflow: () => [gradients()],
  globalNorm: () => [gradients()],
  clearGradients: () => [new api.TrainableBitLinear(4, 2).parameters],
  clipByGlobalNorm: () => [gradients(), 1],
  clipByValue: () => [gradients(), -1, 1, { nan: "zero" }],
  "LossScaler.fromJSON": () => [new api.LossScaler().toJSON()],
  "LossScaler#scale": () => [1],
  "LossScaler#unscale": () => [gradients()],
  "LossScaler#update": () => [true],
  "LossScaler#step": () => [gradients(), () => {}],
  "GradientAccumulator#accumulate": () => [gradients(), { weight: 2 }],
  "GradientAccumulator#mean": () => [{ out: gradients() }],
  "GradientAccumulator#takeMean": () => [{ out: gradients() }],
  "TernaryGradientAccumulator#accumulate": () => [gradients()],
  "TernaryGradientAccumulator#mean": () => [{ out: gradients() }],
  "TernaryGradientAccumulator#takeMean": () => [{ out: gradients() }],
  "GradientPredictor#record": () => [gradients()],
  "GradientPredictor#predict": () => [{ out: gradients() }],
  "GradientPredictor#correct": () => [gradients()],
  "GradientPredictor#restore": () => [warm(new api.GradientPredictor(SIZES)).save()],
  "DeterministicPredictor#record": () => [gradients()],
  "DeterministicPredictor#predict": () => [{ out: gradients() }],
  "DeterministicPredictor#correct": () => [gradients()],
  "DeterministicPredictor#restore": () => [warm(linear()).save()],
  "PhaseTrainer#predict": () => [{ out: gradients() }],
  "LossHistory.fromJSON": () => [history().toJSON(), { clock: noClock }],
  "LossHistory#record": () => [1, "predict"],
  "LossHistory#measurements": () => ["full"],
  "LossHistory#statistics": () => [3],
  "LossHistory#rollingAverage": () => [3],
  "LossHistory#isConverging": () => [{ window: 4, threshold: 0.1 }],
  "LossHistory#detectAnomalies": () => [2],
};

/** One instance of every class. */
export const TRAINING_INSTANCES: Record<string, () => unknown> = {
  LossScaler: () => new api.LossScaler(),
  GradientAccumulator: () => {
    const made = new api.GradientAccumulator(SIZES);
    made.accumulate(gradients());
    return made;
  },
  TernaryGradientAccumulator: () => {
    const made = new api.TernaryGradientAccumulator(SIZES, { accumulationSteps: 2 });
    made.accumulate(gradients());
    return made;
  },
  GradientPredictor: () => warm(new api.GradientPredictor(SIZES)),
  DeterministicPredictor: () => warm(linear()),
  PhaseTrainer: () => inPhase(new api.PhaseTrainer(SIZES, short), "predict"),
  DeterministicPhaseTrainer: () =>
    inPhase(new api.DeterministicPhaseTrainer(SIZES, { ...short, warmupSteps: 2 }), "correct"),
  LossHistory: history,
};
