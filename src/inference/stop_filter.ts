// Finds stop strings in text that arrives in pieces.

/** Passes text through up to the first stop string, and holds back what may be the start of one. */
export class StopFilter {
  #stops: readonly string[];
  #held = "";

  /** Stops at any of the strings, none of them empty. */
  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** True while text is held back. */
  get pending(): boolean {
    return this.#held !== "";
  }

  /** Adds text; returns what may be shown, and whether a stop string has come. */
  push(piece: string): { text: string; stopped: boolean } {
    const text = this.#held + piece;
    const found = this.#stops.map((stop) => text.indexOf(stop)).filter((index) => index >= 0);
    if (found.length > 0) {
      this.#held = "";
      return { text: text.slice(0, Math.min(...found)), stopped: true };
    }
    const kept = this.#possibleStart(text);
    this.#held = text.slice(text.length - kept);
    return { text: text.slice(0, text.length - kept), stopped: false };
  }

  /** Returns what was held back: no stop string can come any more. */
  finish(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }

  /** Length of the longest end of the text that begins a stop string. */
  #possibleStart(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length -= 1) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
