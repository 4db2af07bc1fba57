// Pages become sentences, and sentences become what a classifier learns from and what it is asked.

import { readParagraphs } from "./roff.ts";

/** A manual page as it was shipped: its file name without ".gz", and its text with roff markup. */
export interface Page {
  name: string;
  source: string;
}

/** Sentences of one language, as {@link normalizeText} leaves them. */
export interface Corpus {
  language: string;
  /** Sentences to learn from. */
  train: string[];
  /** Sentences of other pages, none of which occurs in `train`. */
  test: string[];
  /** How many sentences were left out because they belong to no language or to another. */
  untranslated: number;
}

export interface CorpusOptions {
  /** Characters to learn from, at most, in every language (default 200,000). */
  trainCharacters?: number;
  /** Sentences to test with, at most, in every language (default 500). */
  testSentences?: number;
  /** Characters that a sentence to test with has at least (default 60). */
  testLength?: number;
}

/**
 * Lower-case words with single spaces between them.
 *
 * Addresses, paths, options, numbers and identifiers are left out: they are the same everywhere.
 */
export function normalizeText(text: string): string {
  return text.normalize("NFC").toLowerCase()
    .replace(/[’ʼ]/g, "'")
    .split(/\s+/)
    .filter((word) => !/[\d_/\\@=<>{}|$*]|^[(["'«„“]*-\S/.test(word))
    .join(" ")
    .replace(/(?<!\p{L})'|'(?!\p{L})|[^\p{L}\p{M}']+/gu, " ")
    .replace(/ +/g, " ").trim();
}

/** Cuts a paragraph after every full stop that a capital letter follows. */
export function splitSentences(paragraph: string): string[] {
  return paragraph.split(/(?<=[.!?][)"'»”]?)\s+(?=[("'«„“¿¡]?\p{Lu})/u);
}

/** FNV-1a: spreads names and sentences the same way on every run. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  }
  return hash;
}

/**
 * A page and its translations have one name. Sections and digits do not count, because pages such
 * as sha1sum.1 and sha256sum.1 are nearly the same.
 */
function hashPage(name: string): number {
  return hashText(name.replace(/\.[^.]*$/, "").replace(/\d+/g, ""));
}

/** Whether a page is held out, as one in five is; its translations are then held out as well. */
export function isHeldOut(page: string): boolean {
  return hashPage(page) % 5 === 0;
}

/** Sorts by hash, which is an order that has nothing to do with the text. */
function shuffle<T>(
  items: readonly T[],
  hash: (item: T) => number,
  text: (item: T) => string,
): T[] {
  return items.map((item) => ({ item, hash: hash(item), text: text(item) }))
    .sort((a, b) => a.hash - b.hash || (a.text < b.text ? -1 : a.text > b.text ? 1 : 0))
    .map(({ item }) => item);
}

/** Normalised sentences, each with the name of the first page that has it. */
type Sentences = Map<string, string>;

/**
 * Reads pages, those with the same names in every language first, until there is twice the text
 * that is wanted: up to a third of some packages is English and will be left out.
 */
function readSentences(pages: readonly Page[], wanted: Required<CorpusOptions>): Sentences {
  const sentences: Sentences = new Map();
  let characters = 0;
  let tests = 0;
  for (const { name, source } of shuffle(pages, ({ name }) => hashPage(name), ({ name }) => name)) {
    if (characters > 2 * wanted.trainCharacters && tests > 2 * wanted.testSentences) break;
    const heldOut = isHeldOut(name);
    for (const sentence of readParagraphs(source).flatMap(splitSentences).map(normalizeText)) {
      if (sentence === "" || sentences.has(sentence)) continue;
      sentences.set(sentence, name);
      if (!heldOut) characters += sentence.length;
      else if (sentence.length >= wanted.testLength) tests += 1;
    }
  }
  return sentences;
}

/** How often every item occurs. */
function count(items: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  return counts;
}

/**
 * Words that do not tell languages apart: those of the English pages, because what was not
 * translated is English, and those that more than half of the languages have, which are names.
 */
function findSharedWords(languages: ReadonlyMap<string, Sentences>): Set<string> {
  const words = new Map(
    [...languages].map(([language, sentences]) =>
      [language, count([...sentences.keys()].flatMap((sentence) => sentence.split(" ")))] as const
    ),
  );
  const spread = count([...words.values()].flatMap((counts) => [...counts.keys()]));
  const english = words.get("en");
  return new Set(
    [...spread].filter(([word, languages]) =>
      languages > Math.max(1, words.size / 2) || (english?.get(word) ?? 0) >= 2
    ).map(([word]) => word),
  );
}

/**
 * Leaves out what was not translated: sentences that another language has too, and those of which
 * two thirds are shared words. Of sentences that differ in shared words only, such as
 * "the full documentation of X is kept as a Texinfo manual", the first stays.
 */
function dropUntranslated(
  sentences: Sentences,
  shared: ReadonlySet<string>,
  isRepeated: (sentence: string) => boolean,
): { own: Sentences; untranslated: number } {
  const own: Sentences = new Map();
  const seen = new Set<string>();
  let untranslated = 0;
  for (const [sentence, page] of sentences) {
    const words = sentence.split(" ");
    const rest = words.filter((word) => !shared.has(word));
    if (isRepeated(sentence) || 3 * rest.length <= words.length) {
      untranslated += 1;
      continue;
    }
    const key = rest.join(" ");
    if (!seen.has(key)) own.set(sentence, page);
    seen.add(key);
  }
  return { own, untranslated };
}

/**
 * Makes text to learn from and text to test with, the same from the same pages.
 *
 * Pages that are held out give the sentences to test with, all others those to learn from. Only in
 * "en" do sentences stay that occur in other languages too.
 */
export function buildCorpora(
  pages: ReadonlyMap<string, readonly Page[]>,
  options: CorpusOptions = {},
): Corpus[] {
  const wanted = { trainCharacters: 200_000, testSentences: 500, testLength: 60, ...options };
  const read = new Map(
    [...pages].map(([language, pages]) => [language, readSentences(pages, wanted)]),
  );
  const shared = findSharedWords(read);
  const spread = count([...read.values()].flatMap((sentences) => [...sentences.keys()]));
  return [...read].map(([language, sentences]) => {
    const { own, untranslated } = language === "en"
      ? { own: sentences, untranslated: 0 }
      : dropUntranslated(sentences, shared, (sentence) => spread.get(sentence)! > 1);
    const shuffled = shuffle(
      [...own],
      ([sentence]) => hashText(sentence),
      ([sentence]) => sentence,
    );
    let characters = 0;
    const train = shuffled.filter(([, page]) => !isHeldOut(page)).map(([sentence]) => sentence)
      .filter((sentence) => (characters += sentence.length) <= wanted.trainCharacters);
    const test = shuffled.filter(([, page]) => isHeldOut(page)).map(([sentence]) => sentence)
      .filter((sentence) => sentence.length >= wanted.testLength).slice(0, wanted.testSentences);
    return { language, train, test, untranslated };
  });
}
