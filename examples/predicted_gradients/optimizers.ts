// What turns gradients into changes of the parameters.

/** Changes parameters by gradients, whoever computed or predicted them. */
export interface Optimizer {
  step(gradients: readonly Float32Array[], learningRate: number): void;
}

/** Makes an optimiser for parameters. */
export type OptimizerKind = (parameters: readonly Float32Array[]) => Optimizer;

const zerosLike = (arrays: readonly Float32Array[]) =>
  arrays.map((array) => new Float32Array(array.length));

/** Stochastic gradient descent with a momentum of 0.9. */
export function momentum(parameters: readonly Float32Array[]): Optimizer {
  const MOMENTUM = 0.9;
  const velocities = zerosLike(parameters);
  return {
    step(gradients, learningRate) {
      parameters.forEach((values, at) => {
        const [gradient, velocity] = [gradients[at]!, velocities[at]!];
        for (let i = 0; i < values.length; i++) {
          velocity[i] = MOMENTUM * velocity[i]! + gradient[i]!;
          values[i]! -= learningRate * velocity[i]!;
        }
      });
    },
  };
}

/** Adam, with a shorter memory of squares than usual (0.99), because the runs are short. */
export function adam(parameters: readonly Float32Array[]): Optimizer {
  const [MEAN, SQUARES, EPSILON] = [0.9, 0.99, 1e-8];
  const means = zerosLike(parameters);
  const squares = zerosLike(parameters);
  let steps = 0;
  return {
    step(gradients, learningRate) {
      steps += 1;
      const rate = learningRate * Math.sqrt(1 - SQUARES ** steps) / (1 - MEAN ** steps);
      parameters.forEach((values, at) => {
        const [gradient, mean, square] = [gradients[at]!, means[at]!, squares[at]!];
        for (let i = 0; i < values.length; i++) {
          mean[i] = MEAN * mean[i]! + (1 - MEAN) * gradient[i]!;
          square[i] = SQUARES * square[i]! + (1 - SQUARES) * gradient[i]! ** 2;
          values[i]! -= rate * mean[i]! / (Math.sqrt(square[i]!) + EPSILON);
        }
      });
    },
  };
}
