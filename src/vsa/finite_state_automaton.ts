// An automaton whose transitions are one vector.

import { checkOptions } from "../checks.ts";
import { checkVector, type Hypervector } from "./hypervector.ts";

import type { OutOptions } from "./options.ts";
import { filled } from "./ownership.ts";
import {
  checkStructureMode,
  type StructureMode,
  type StructureOptions,
  Superposition,
  unbindTrace,
} from "./superposition.ts";

/**
 * The transitions of a finite state automaton as one vector (torchhd's FiniteStateAutomata).
 *
 * A transition is the binding of a state, a token, and the next state permuted cyclically by 1. `next`
 * returns the next state and noise from the other transitions: clean it up with an `ItemMemory` of the
 * states before the next step.
 *
 * @example
 * ```ts
 * import { FiniteStateAutomaton, Hypervector } from "tritter-accel";
 *
 * const vector = (seed: number) => Hypervector.random(10_000, seed, { distribution: "bipolar" });
 * const [locked, unlocked, push, coin] = [vector(1), vector(2), vector(3), vector(4)] as const;
 * using turnstile = new FiniteStateAutomaton(10_000);
 * turnstile.addTransition(locked, coin, unlocked);
 * turnstile.addTransition(unlocked, push, locked);
 * turnstile.addTransition(locked, push, locked);
 * using after = turnstile.next(locked, coin);
 * console.log(after.cosine(unlocked) > after.cosine(locked)); // true
 * ```
 */
export class FiniteStateAutomaton extends Superposition {
  /** How states and tokens are bound. */
  readonly mode: StructureMode;

  /**
   * Makes one without transitions.
   *
   * @example
   * ```ts
   * import { FiniteStateAutomaton } from "tritter-accel";
   *
   * using automaton = new FiniteStateAutomaton(10_000);
   * console.log(automaton.size); // 0
   * ```
   */
  constructor(dim: number, options?: StructureOptions) {
    // Before anything is allocated.
    const mode = checkStructureMode(options);
    super(dim, options);
    this.mode = mode;
  }

  /**
   * Adds a transition from a state, by a token, to a state.
   *
   * @example
   * ```ts
   * import { FiniteStateAutomaton, Hypervector } from "tritter-accel";
   *
   * const vector = (seed: number) => Hypervector.random(1000, seed, { distribution: "bipolar" });
   * using automaton = new FiniteStateAutomaton(1000);
   * automaton.addTransition(vector(1), vector(2), vector(3));
   * console.log(automaton.next(vector(1), vector(2)).equals(vector(3))); // true
   * ```
   */
  addTransition(from: Hypervector, token: Hypervector, to: Hypervector): void {
    using transition = this.#transition(from, token, to);
    this.put(transition);
  }

  /**
   * Removes a transition that was added.
   *
   * Which were added is not known: removing others leaves a trace that means nothing. Throws
   * `invalid_value` where there are none.
   *
   * @example
   * ```ts
   * import { FiniteStateAutomaton, Hypervector } from "tritter-accel";
   *
   * const vector = (seed: number) => Hypervector.random(1000, seed, { distribution: "bipolar" });
   * using automaton = new FiniteStateAutomaton(1000);
   * automaton.addTransition(vector(1), vector(2), vector(3));
   * automaton.removeTransition(vector(1), vector(2), vector(3));
   * console.log(automaton.size); // 0
   * ```
   */
  removeTransition(from: Hypervector, token: Hypervector, to: Hypervector): void {
    using transition = this.#transition(from, token, to);
    this.take(transition);
  }

  /**
   * Returns the state after a token, with noise from the other transitions; zeros where there is no
   * transition at all.
   *
   * `out` takes the result instead of new memory.
   *
   * @example
   * ```ts
   * import { FiniteStateAutomaton, Hypervector } from "tritter-accel";
   *
   * const vector = (seed: number) => Hypervector.random(1000, seed, { distribution: "bipolar" });
   * using automaton = new FiniteStateAutomaton(1000);
   * automaton.addTransition(vector(1), vector(2), vector(3));
   * using stuck = automaton.next(vector(1), vector(9));
   * console.log(Math.abs(stuck.cosine(vector(3))) < 0.2); // true
   * ```
   */
  next(state: Hypervector, token: Hypervector, options?: OutOptions<Hypervector>): Hypervector {
    checkVector(state, "state", this.dim);
    checkVector(token, "token", this.dim);
    const { out } = checkOptions(options, "options");
    const { mode } = this;
    using condition = state.bind(token, { mode });
    const next = unbindTrace(this.trace, condition, mode, out);
    return next.unpermute(1, { out: next });
  }

  #transition(from: Hypervector, token: Hypervector, to: Hypervector): Hypervector {
    const { mode } = this;
    checkVector(from, "from", this.dim);
    checkVector(token, "token", this.dim);
    return filled(checkVector(to, "to", this.dim).permute(1), (transition) => {
      transition.bind(from, { mode, out: transition });
      transition.bind(token, { mode, out: transition });
    });
  }
}
