// Which language is this? Character trigrams as hypervectors (Joshi, Halseth, Kanerva 2015), learnt
// from manual pages and tested on pages that were held out.
//
//   bun examples/language_id.ts [--quick] [--svg FILE] [SENTENCE ...]
//   deno run --allow-ffi --allow-run=apt-get,dpkg-deb --allow-env --allow-read --allow-write \
//     examples/language_id.ts [--quick] [--svg FILE] [SENTENCE ...]
//
// The first run downloads the pages from Debian's archive, which needs apt-get and dpkg-deb but not
// root. Sentences that are given are identified as well. Ends with an error where fewer than 95 % of
// the held-out sentences are recognised.

import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { CentroidClassifier, NgramEncoder } from "tritter-accel";
import { drawConfusion, measureAccuracy } from "./language_id/confusion.ts";
import { fetchPages, LANGUAGES, QUICK_LANGUAGES } from "./language_id/fetch.ts";
import { buildCorpora, type Corpus, normalizeText } from "./language_id/text.ts";

const DIM = 10_000;
const EPOCHS = 8;
/** What the held-out sentences must reach. */
const ACCURACY_MIN = 0.95;
const EXAMPLES = [
  "The quick brown fox jumps over the lazy dog",
  "Chi dorme non piglia pesci, e chi va piano va sano e va lontano",
  "Borta bra men hemma bäst",
];

const say = (line: string) => process.stderr.write(`${line}\n`);
const seconds = (since: number) => ((performance.now() - since) / 1000).toFixed(1);

/** Words begin and end, also at the ends of a sentence. */
const framed = (sentence: string) => ` ${sentence} `;

interface Options {
  quick: boolean;
  svg: string;
  sentences: string[];
}

function readOptions(args: readonly string[]): Options {
  const options: Options = { quick: false, svg: join(tmpdir(), "language_id.svg"), sentences: [] };
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === "--quick") options.quick = true;
    else if (arg === "--svg" && at + 1 < args.length) options.svg = args[++at]!;
    else if (arg.startsWith("--")) throw new Error(`expected --quick or --svg FILE, got "${arg}"`);
    else options.sentences.push(arg);
  }
  return options;
}

/** Learns the languages: first all sentences, then again and again those that it gets wrong. */
function learn(corpora: readonly Corpus[], encoder: NgramEncoder): CentroidClassifier {
  const start = performance.now();
  const sentences = corpora.flatMap(({ train }) => train);
  const labels = corpora.flatMap(({ language, train }) => train.map(() => LANGUAGES[language]!));
  using samples = encoder.encodeAll(sentences.map(framed));
  const characters = sentences.reduce((sum, sentence) => sum + sentence.length, 0);
  say(
    `Encoded ${sentences.length} sentences, ${(characters / 1e6).toFixed(1)} million characters, ` +
      `in ${seconds(start)} s`,
  );
  const classifier = new CentroidClassifier(DIM);
  classifier.fit(samples, labels, {
    rule: "online",
    epochs: EPOCHS,
    onEpoch: (epoch, errors) =>
      say(`Pass ${epoch + 1} of ${EPOCHS}: ${errors} of ${labels.length} sentences were wrong`),
  });
  say(`Learnt ${classifier.labels.length} languages in ${seconds(start)} s`);
  return classifier;
}

/** Classifies the sentences that were held out, draws who is taken for whom, and returns the accuracy. */
function evaluate(
  corpora: readonly Corpus[],
  encoder: NgramEncoder,
  classifier: CentroidClassifier,
  file: string,
): number {
  const labels = corpora.flatMap(({ language, test }) => test.map(() => LANGUAGES[language]!));
  using samples = encoder.encodeAll(corpora.flatMap(({ test }) => test.map(framed)));
  const start = performance.now();
  const { labels: names, confusion } = classifier.evaluate(samples, labels);
  const each = 1000 * (performance.now() - start) / labels.length;
  const size = names.length;
  const counts = names.map((_, row) => [...confusion.subarray(row * size, (row + 1) * size)]);
  const { accuracy, mean } = measureAccuracy({ labels: names, counts });
  writeFileSync(file, drawConfusion({ labels: names, counts }));
  console.log(
    `${(100 * accuracy).toFixed(2)} % of ${labels.length} held-out sentences of 60 characters or ` +
      `more are recognised (mean of the ${size} languages ${(100 * mean).toFixed(2)} %), ` +
      `${each.toFixed(0)} us each`,
  );
  console.log(`Confusion matrix: ${file}`);
  return accuracy;
}

/** The most similar languages to a sentence. */
function identify(sentence: string, encoder: NgramEncoder, classifier: CentroidClassifier): void {
  using sample = encoder.encode(framed(normalizeText(sentence)));
  const scores = classifier.scores(sample);
  const best = classifier.labels.map((label, index) => ({ label, score: scores[index]! }))
    .sort((a, b) => b.score - a.score).slice(0, 3)
    .map(({ label, score }) => `${label} ${score.toFixed(3)}`);
  console.log(`"${sentence}": ${best.join(", ")}`);
}

async function main(): Promise<void> {
  const { quick, svg, sentences } = readOptions(process.argv.slice(2));
  const start = performance.now();
  const corpora = buildCorpora(await fetchPages(quick ? QUICK_LANGUAGES : undefined));
  say(`Read the manual pages of ${corpora.length} languages in ${seconds(start)} s`);
  using encoder = new NgramEncoder(DIM, { n: 3, seed: 1 });
  using classifier = learn(corpora, encoder);
  const accuracy = evaluate(corpora, encoder, classifier, svg);
  for (const sentence of sentences.length > 0 ? sentences : EXAMPLES) {
    identify(sentence, encoder, classifier);
  }
  if (!(accuracy >= ACCURACY_MIN)) {
    throw new Error(
      `expected an accuracy of at least ${100 * ACCURACY_MIN} %, got ${
        (100 * accuracy).toFixed(2)
      } %`,
    );
  }
}

main().catch((error: Error) => {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
});
