// Text of tokens that arrive one by one. A token may end inside a character, or change the text
// around it (a space at the beginning), so a few tokens are always decoded together.

import { checkArray, checkCount } from "../checks.ts";
import { tritterError } from "../errors.ts";

const INCOMPLETE = "\uFFFD";

/** Returns a copy of a list of token ids, of any vocabulary. */
export function checkTokens(value: unknown, name: string): number[] {
  if (!Array.isArray(value) && !(value instanceof Uint32Array) && !(value instanceof Int32Array)) {
    throw tritterError(
      "invalid_type",
      `${name} must be an array of token ids, got ${value === null ? "null" : typeof value}`,
    );
  }
  const ids = Array.isArray(value)
    ? value
    : checkArray(value, value instanceof Uint32Array ? Uint32Array : Int32Array, name);
  return Array.from(ids as ArrayLike<unknown>, (id, index) => checkCount(id, `${name}[${index}]`));
}

/** What only this module can pass to the constructor: at run time nothing else makes it private. */
const KEY = Symbol("StreamDecoder");

let construct: (decode: (ids: number[]) => string, before: number[]) => StreamDecoder;

/** Decodes with a function that gives the text of ids; the text goes on after that of `before`. */
export function createStreamDecoder(
  decode: (ids: number[]) => string,
  before: readonly number[] | Uint32Array | Int32Array = [],
): StreamDecoder {
  return construct(decode, checkTokens(before, "before"));
}

/** An unfinished character has at most three bytes, and a token at least one. */
const CONTEXT = 8;

/**
 * Turns token ids into text piece by piece; the pieces together are the text of all ids.
 *
 * Made by {@linkcode Tokenizer.stream}. A character whose bytes are spread over several tokens comes
 * out whole, with the last of them.
 *
 * @example
 * ```ts
 * import { Tokenizer } from "tritter-accel";
 *
 * const tokenizer = await Tokenizer.load("examples/models/bitnet-jargon");
 * const decoder = tokenizer.stream();
 * for (const id of tokenizer.encode("日本")) console.log(decoder.push(id), decoder.pending);
 * ```
 */
export class StreamDecoder {
  #decode: (ids: number[]) => string;
  #window: number[];
  /** How much of the window's text has been given out. */
  #given: number;
  #pending: boolean;

  static {
    construct = (decode, before) => new StreamDecoder(KEY, decode, before);
  }

  private constructor(key: symbol, decode: (ids: number[]) => string, before: number[]) {
    if (key !== KEY) {
      throw tritterError("invalid_type", "StreamDecoder is made by Tokenizer.stream");
    }
    this.#decode = decode;
    this.#window = before.slice(-CONTEXT);
    const text = decode(this.#window);
    this.#pending = text.endsWith(INCOMPLETE);
    this.#given = text.length - (this.#pending ? 1 : 0);
  }

  /** True while the last character is incomplete. */
  get pending(): boolean {
    return this.#pending;
  }

  /** Adds a token and returns the text that is complete now, often that of the token. */
  push(id: number): string {
    this.#window.push(checkCount(id, "id"));
    const text = this.#decode(this.#window);
    // The decoder shows an unfinished character as U+FFFD. A real one is held back for a token.
    const end = text.endsWith(INCOMPLETE) ? text.length - 1 : text.length;
    const piece = text.slice(this.#given, end);
    this.#given = Math.max(this.#given, end);
    this.#pending = this.#given < text.length;
    this.#shorten();
    return piece;
  }

  /** Returns the rest: U+FFFD if the last character stayed incomplete. */
  finish(): string {
    const rest = this.#pending ? this.#decode(this.#window).slice(this.#given) : "";
    this.#window = [];
    this.#given = 0;
    this.#pending = false;
    return rest;
  }

  /** Keeps what the next tokens may combine with, so that a push costs the same at any length. */
  #shorten(): void {
    if (this.#window.length < 2 * CONTEXT) return;
    const window = this.#window.slice(-CONTEXT);
    const text = this.#decode(window);
    // A window of nothing but silent tokens would lose the context; wait for better ones.
    if (text.length === 0) return;
    this.#window = window;
    this.#given = text.length - (this.#pending ? 1 : 0);
  }
}
