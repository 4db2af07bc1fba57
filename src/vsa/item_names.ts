// The names of an item memory, by number and back.

import { describe } from "../checks.ts";
import { tritterError } from "../errors.ts";

/** The most entries that a map of V8 holds. */
export const ITEMS_MAX: number = 2 ** 24;

/** Names numbered from 0; a removed one's number goes to the last. */
export class ItemNames {
  #list: string[] = [];
  #numbers: Map<string, number> = new Map();

  /** How many there are. */
  get size(): number {
    return this.#list.length;
  }

  /** A copy of all, by their numbers. */
  list(): string[] {
    return this.#list.slice();
  }

  /** The name of a number. */
  at(number: number): string | undefined {
    return this.#list[number];
  }

  /** The number of a name. */
  find(name: string): number | undefined {
    return this.#numbers.get(name);
  }

  /** Checks that names can be added: strings that are new, and not too many. */
  check(names: readonly string[]): void {
    const count = this.size + names.length;
    if (count > ITEMS_MAX) {
      throw tritterError("invalid_length", `items must be at most ${ITEMS_MAX}, got ${count}`);
    }
    for (const name of names) {
      if (typeof name !== "string") {
        throw tritterError("invalid_type", `name must be a string, got ${describe(name)}`);
      }
      if (this.#numbers.has(name)) {
        throw tritterError("invalid_value", `name must be new, got ${describe(name)} again`);
      }
    }
    if (names.length > 1 && new Set(names).size !== names.length) {
      throw tritterError("invalid_value", "names must differ from one another, got one twice");
    }
  }

  /** Adds names that have been checked. */
  add(names: readonly string[]): void {
    for (const name of names) {
      const number = this.#list.push(name) - 1;
      try {
        this.#numbers.set(name, number);
      } catch {
        // A full map of V8 counts those that were deleted, too; a new one has forgotten them.
        this.#numbers = new Map(this.#list.map((name, number) => [name, number]));
      }
    }
  }

  /** Removes a name; the last one takes its number. */
  remove(name: string): void {
    const number = this.#numbers.get(name)!;
    const last = this.#list.pop()!;
    if (last !== name) {
      this.#list[number] = last;
      this.#numbers.set(last, number);
    }
    this.#numbers.delete(name);
  }
}
