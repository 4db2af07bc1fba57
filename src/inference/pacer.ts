// Long work in slices: a native call blocks the event loop, so timers and signals get turns between.

import { setImmediate } from "node:timers";

const SLICE_MILLISECONDS = 8;

/** Gives the event loop a turn whenever the last one is a while ago. */
export class Pacer {
  #signal: AbortSignal | undefined;
  #last = performance.now();

  /** Throws the reason of `signal`, if it is aborted, after each slice. */
  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** Lets timers and events run if it is time, then throws if the signal is aborted. */
  async breathe(): Promise<void> {
    if (performance.now() - this.#last >= SLICE_MILLISECONDS) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      this.#last = performance.now();
    }
    this.#signal?.throwIfAborted();
  }
}
