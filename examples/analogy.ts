// "What is the dollar of Mexico?": records, an analogy between them, and clean-up (Kanerva 2010).
//
//   bun examples/analogy.ts
//   deno run --allow-ffi --allow-read examples/analogy.ts

import { type Hypervector, ItemMemory, RecordEncoder } from "tritter-accel";

const DIM = 10_000;
const ROLES = ["country", "capital", "currency", "language"] as const;
const COUNTRIES = {
  usa: ["USA", "Washington", "dollar", "English"],
  mexico: ["Mexico", "Mexico City", "peso", "Spanish"],
  japan: ["Japan", "Tokyo", "yen", "Japanese"],
} as const;

using words = new ItemMemory(DIM);
using encoder = new RecordEncoder(DIM, ROLES, { seed: 1 });

/** The vector of a word; every word has its own. */
function word(name: string): Hypervector {
  if (!words.has(name)) words.addRandom(name, undefined, { distribution: "bipolar" });
  return words.get(name);
}

/** One vector for everything that is known about a country. */
function record(facts: readonly string[]): Hypervector {
  return encoder.encode(
    Object.fromEntries(ROLES.map((role, index) => [role, word(facts[index]!)])),
  );
}

using usa = record(COUNTRIES.usa);
using mexico = record(COUNTRIES.mexico);
using japan = record(COUNTRIES.japan);

/** Prints the word that is nearest to an answer, and the next; throws if it is not the right one. */
function ask(question: string, answer: Hypervector, right: string): void {
  const [best, second] = words.topK(answer, 2);
  const score = ({ name, score }: { name: string; score: number }) => `${name} ${score.toFixed(2)}`;
  console.log(`${question.padEnd(38)}${score(best!).padEnd(20)}${score(second!)}`);
  if (best!.name !== right) throw new Error(`${question} ${right}, got ${best!.name}`);
}

console.log(`${"question".padEnd(38)}${"answer".padEnd(20)}second`);
ask("currency in the record of Mexico?", encoder.get(mexico, "currency"), "peso");
ask("capital in the record of Japan?", encoder.get(japan, "capital"), "Tokyo");

// Bound with each other, two records translate what one holds into what the other holds there.
const mode = "multiply";
using toMexico = usa.bind(mexico, { mode });
using toJapan = mexico.bind(japan, { mode });
ask("what is the dollar of Mexico?", word("dollar").bind(toMexico, { mode }), "peso");
ask(
  "what is the Washington of Mexico?",
  word("Washington").bind(toMexico, { mode }),
  "Mexico City",
);
ask("what is the peso of Japan?", word("peso").bind(toJapan, { mode }), "yen");
ask("what is the Spanish of Japan?", word("Spanish").bind(toJapan, { mode }), "Japanese");
