// The gate of a feed-forward part in training.

import { checkArray, checkChoice, checkOptions } from "../checks.ts";
import { check, native } from "../native/library.ts";
import { FloatBuffer, kept } from "./buffer.ts";
import type { LayerOutput } from "./trainable_bitlinear.ts";

const ACTIVATIONS = ["relu2", "silu"] as const;

/** The gradients that a gate gives back. */
export interface GateGradients {
  /** Gradient of the gate. */
  readonly gate: Float32Array;
  /** Gradient of what is gated. */
  readonly up: Float32Array;
}

/**
 * act(gate) x up, element by element: `"relu2"` is max(x, 0)^2 as in BitNet models, `"silu"` is
 * x / (1 + e^-x) as in SwiGLU.
 *
 * Source: So et al., arXiv:2109.08668, and Shazeer, arXiv:2002.05202.
 *
 * @example
 * ```ts
 * import { ActivationGate } from "tritter-accel";
 *
 * const gate = new ActivationGate("relu2");
 * console.log(gate.forward(Float32Array.of(2, -1), Float32Array.of(3, 5))); // 12, 0
 * console.log(gate.backward(Float32Array.of(1, 1)).gate); // 12, 0
 * ```
 */
export class ActivationGate {
  /** The function of the gate. */
  readonly activation: "relu2" | "silu";
  readonly #kind: number;
  readonly #output = new FloatBuffer();
  readonly #gradients = [new FloatBuffer(), new FloatBuffer()] as const;
  #inputs: GateGradients | undefined;

  /** Makes a gate. */
  constructor(activation: "relu2" | "silu") {
    this.activation = checkChoice(activation, ACTIVATIONS, "activation", "relu2");
    this.#kind = ACTIVATIONS.indexOf(this.activation);
  }

  /**
   * Returns act(gate) x up; both are kept for `backward`, and must not change until then.
   *
   * @example
   * ```ts
   * import { ActivationGate } from "tritter-accel";
   *
   * console.log(new ActivationGate("silu").forward(Float32Array.of(0), Float32Array.of(1))); // 0
   * ```
   */
  forward(gate: Float32Array, up: Float32Array, options?: LayerOutput): Float32Array {
    const { out } = checkOptions(options, "options");
    const { length } = checkArray(gate, Float32Array, "gate");
    checkArray(up, Float32Array, "up", length);
    const output = out === undefined
      ? this.#output.take(length)
      : checkArray(out, Float32Array, "out", length);
    check(native.gate_forward(gate, length, up, output, this.#kind));
    this.#inputs = { gate, up };
    return output;
  }

  /**
   * Returns the gradients of the last gate and of what it gated.
   *
   * `inPlace` writes them over the arrays that were given to `forward`.
   *
   * @example
   * ```ts
   * import { ActivationGate } from "tritter-accel";
   *
   * const gate = new ActivationGate("relu2");
   * gate.forward(Float32Array.of(3), Float32Array.of(2));
   * console.log(gate.backward(Float32Array.of(1)).up); // 9
   * ```
   */
  backward(gradient: Float32Array, options?: { inPlace?: boolean | undefined }): GateGradients {
    const { inPlace = false } = checkOptions(options, "options");
    const inputs = kept(this.#inputs, "ActivationGate");
    const { length } = inputs.gate;
    checkArray(gradient, Float32Array, "gradient", length);
    const result = inPlace
      ? inputs
      : { gate: this.#gradients[0].take(length), up: this.#gradients[1].take(length) };
    check(native.gate_backward(
      inputs.gate,
      length,
      inputs.up,
      gradient,
      result.gate,
      result.up,
      this.#kind,
    ));
    if (inPlace) this.#inputs = undefined;
    return result;
  }
}
