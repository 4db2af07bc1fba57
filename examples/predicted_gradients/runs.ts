// One training run, with predicted gradients or without, and the search for its learning rate.

import { DeterministicPhaseTrainer, PhaseTrainer } from "tritter-accel";
import type { OptimizerKind } from "./optimizers.ts";
import type { Task } from "./task.ts";

/** A way to spend backward passes; without a trainer every step has one. */
export interface Method {
  name: string;
  trainer?(sizes: number[]): PhaseTrainer;
  /** Updates of the parameters. */
  steps: number;
}

/** Where a run stood at some moment. */
export interface Point {
  backwardPasses: number;
  milliseconds: number;
  loss: number;
}

/** What came of a run. */
export interface Outcome {
  loss: number;
  backwardPasses: number;
  milliseconds: number;
  /** Mean cosine of predicted and true gradients at corrections. */
  cosine: number | undefined;
  points: Point[];
}

/** What all runs of a comparison share. */
export interface Setting {
  /** Makes the task anew; the seed decides parameters and batches. */
  task(seed: number): Task;
  optimizer: OptimizerKind;
  /** Windows of a validation: on the way, and at the end. */
  windows: readonly [number, number];
  /** Validations on the way. */
  points: number;
}

/** The phases of the golden trace for every predictor, so that all have as many backward passes. */
const PHASES = {
  warmupSteps: 10,
  fullSteps: 5,
  predictSteps: 20,
  correctEvery: 5,
  adaptive: false,
  residualThreshold: Infinity,
} as const;

/** The predictors that are compared, each over so many updates. */
export function predictingMethods(steps: number): Method[] {
  return [
    {
      name: "line through past gradients",
      trainer: (sizes) => new DeterministicPhaseTrainer(sizes, PHASES),
      steps,
    },
    {
      name: "mean of past gradients",
      trainer: (sizes) => new DeterministicPhaseTrainer(sizes, { ...PHASES, velocityScale: 0 }),
      steps,
    },
    {
      name: "last change goes on",
      trainer: (sizes) => new PhaseTrainer(sizes, PHASES),
      steps,
    },
    {
      name: "last gradient again",
      trainer: (sizes) => new PhaseTrainer(sizes, { ...PHASES, momentum: 0, correctionWeight: 0 }),
      steps,
    },
  ];
}

/** Backward passes of a method, which its phases alone decide. */
export function countBackwardPasses({ trainer, steps }: Method): number {
  const phases = trainer?.([1]);
  if (phases === undefined) return steps;
  const gradients = new Float32Array(1);
  for (let step = 0; step < steps; step++) takeGradients(phases, [gradients], () => 0);
  return phases.stats.backwardSteps;
}

/** One step's gradients, computed or predicted. */
function takeGradients(
  trainer: PhaseTrainer,
  gradients: readonly Float32Array[],
  compute: () => number,
): void {
  const { phase } = trainer.next();
  if (phase === "predict") {
    trainer.predict({ out: gradients });
    trainer.recordLoss();
    return;
  }
  const loss = compute();
  if (phase === "correct") trainer.correct(gradients);
  else trainer.recordFull(gradients);
  trainer.recordLoss(Number.isFinite(loss) ? loss : undefined);
}

/** Trains once; the learning rate falls to zero in a straight line. */
export function train(setting: Setting, method: Method, rate: number, seed: number): Outcome {
  const task = setting.task(seed);
  const optimizer = setting.optimizer(task.parameters);
  const gradients = task.parameters.map(({ length }) => new Float32Array(length));
  const trainer = method.trainer?.(gradients.map(({ length }) => length));
  const points: Point[] = [];
  let backwardPasses = 0;
  let milliseconds = 0;
  const compute = () => {
    backwardPasses += 1;
    return task.lossAndGradients(gradients);
  };
  const pointEvery = Math.max(1, Math.floor(method.steps / setting.points));
  for (let step = 0; step < method.steps; step++) {
    if (step % pointEvery === 0) {
      points.push({ backwardPasses, milliseconds, loss: task.validationLoss(setting.windows[0]) });
    }
    const began = performance.now();
    try {
      if (trainer === undefined) compute();
      else takeGradients(trainer, gradients, compute);
    } catch (error) {
      // The predictors refuse gradients that are not finite: the run has diverged.
      if (!(error instanceof RangeError)) throw error;
      return { loss: Infinity, backwardPasses, milliseconds, cosine: undefined, points };
    }
    optimizer.step(gradients, rate * (1 - step / method.steps));
    milliseconds += performance.now() - began;
  }
  const loss = task.validationLoss(setting.windows[1]);
  points.push({ backwardPasses, milliseconds, loss: task.validationLoss(setting.windows[0]) });
  const cosine = trainer?.stats.meanCosine;
  return {
    loss: Number.isFinite(loss) ? loss : Infinity,
    backwardPasses,
    milliseconds,
    cosine,
    points,
  };
}

/** The learning rate with the least loss, by steps of a factor until both neighbours are worse. */
export function findRate(losses: (rate: number) => number, start: number, factor = 2): number {
  const known = new Map<number, number>();
  const lossAt = (power: number) => {
    if (!known.has(power)) known.set(power, losses(start * factor ** power));
    return known.get(power)!;
  };
  let best = 0;
  for (let moves = 0; moves < 12; moves++) {
    const next = [best - 1, best + 1].find((power) => lossAt(power) < lossAt(best));
    // A run that diverges says nothing about which way to go: smaller.
    if (next === undefined && lossAt(best) !== Infinity) break;
    best = next ?? best - 1;
  }
  return start * factor ** best;
}
