// One line on standard error that tells how far training is.

import process from "node:process";

/** How long between two states of the line, and between two lines where they stay. */
const REDRAW_MILLISECONDS = 100;
const LINE_MILLISECONDS = 10_000;
const BAR = 20;

/** What the line says. */
export interface ProgressState {
  /** Steps that are done. */
  readonly step: number;
  /** All steps. */
  readonly steps: number;
  /** Loss of the last step. */
  readonly loss: number;
  /** The last validation loss, if there is one. */
  readonly validationLoss: number | null;
}

/** Shows progress: a bar on a terminal, elsewhere a line now and then, or nothing at all. */
export class Progress {
  readonly #shown: boolean;
  readonly #terminal: boolean;
  #last = -Infinity;
  /** Times and tokens of the latest steps: their rate is what is told. */
  #window: { time: number; tokens: number; step: number }[];
  #open = false;

  /** Without a choice, only a terminal gets to see anything. `tokens` are those learnt from before. */
  constructor(shown: boolean | undefined, step: number, tokens: number) {
    this.#terminal = process.stderr.isTTY === true;
    this.#shown = shown ?? this.#terminal;
    this.#window = [{ time: performance.now(), tokens, step }];
  }

  /** Tells how far training is; `tokens` counts all that were learnt from. */
  update(state: ProgressState, tokens: number): void {
    if (!this.#shown) return;
    const time = performance.now();
    this.#window.push({ time, tokens, step: state.step });
    // Half a minute of steps, but always two of them.
    while (this.#window.length > 2 && this.#window[0]!.time < time - 30_000) this.#window.shift();
    const pause = this.#terminal ? REDRAW_MILLISECONDS : LINE_MILLISECONDS;
    if (time - this.#last < pause && state.step < state.steps) return;
    this.#last = time;
    this.#write(describeProgress(state, this.#rates(), this.#terminal));
  }

  #rates(): { tokens: number; steps: number } {
    const first = this.#window[0]!;
    const last = this.#window.at(-1)!;
    const seconds = (last.time - first.time) / 1000;
    return {
      tokens: (last.tokens - first.tokens) / seconds,
      steps: (last.step - first.step) / seconds,
    };
  }

  #write(line: string): void {
    process.stderr.write(this.#terminal ? `\r${line}\x1b[K` : `${line}\n`);
    this.#open = this.#terminal;
  }

  /** Ends the line. */
  [Symbol.dispose](): void {
    if (this.#open) process.stderr.write("\n");
    this.#open = false;
  }
}

/** The line itself. */
export function describeProgress(
  { step, steps, loss, validationLoss }: ProgressState,
  rates: { tokens: number; steps: number },
  bar: boolean,
): string {
  const filled = Math.round(BAR * step / steps);
  const parts = [`Step ${step}/${steps}`];
  if (bar) parts.push(`[${"#".repeat(filled)}${".".repeat(BAR - filled)}]`);
  parts.push(`loss ${loss.toFixed(3)}`);
  if (validationLoss !== null) parts.push(`validation ${validationLoss.toFixed(3)}`);
  if (rates.steps > 0 && Number.isFinite(rates.steps)) {
    parts.push(
      `${Math.round(rates.tokens)} tokens/s`,
      `ETA ${clock((steps - step) / rates.steps)}`,
    );
  }
  return parts.join(" ");
}

function clock(seconds: number): string {
  const whole = Math.ceil(seconds);
  const two = (value: number) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0
    ? `${hours}:${two(minutes)}:${two(whole % 60)}`
    : `${minutes}:${two(whole % 60)}`;
}
