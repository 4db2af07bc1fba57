// The length of all gradients together, and a limit for it.

import type { Parameter } from "../nn/trainable.ts";

/** Returns the global norm of the gradients; where it is above a limit other than 0, shortens them to it. */
export function clipGradients(parameters: readonly Parameter[], limit: number): number {
  let sum = 0;
  for (const { gradient } of parameters) {
    for (const value of gradient) sum += value * value;
  }
  const norm = Math.sqrt(sum);
  if (limit > 0 && norm > limit && norm < Infinity) {
    const factor = limit / norm;
    for (const { gradient } of parameters) {
      for (let index = 0; index < gradient.length; index++) gradient[index]! *= factor;
    }
  }
  return norm;
}
