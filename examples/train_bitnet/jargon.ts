// The Jargon File: paragraphs to learn from, and the rows of tokens that models are compared on.

import * as fs from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { splitText, TokenDataset, Tokenizer } from "tritter-accel";
import { cacheFolder, fetchPackages } from "../debian/packages.ts";

const PACKAGE = "jargon-text";
const BOS = 0;
const EOS = 1;

/** Shorter paragraphs are headings and lines of tables. */
const MIN_LENGTH = 40;

/** The text, downloaded on the first run and read from the cache later. */
export async function fetchText(cache: string = cacheFolder("jargon")): Promise<string> {
  const folder = join(cache, PACKAGE);
  if (!fs.existsSync(folder)) {
    const missing = await fetchPackages([PACKAGE], cache);
    if (missing.length > 0) throw new Error(`apt-get finds no ${missing.join(", ")}`);
  }
  const file = join(folder, "usr", "share", "doc", PACKAGE, "jargon.txt.gz");
  return gunzipSync(fs.readFileSync(file)).toString("utf8");
}

/** Texts between BOS and EOS in a stream of tokens; the last may have been cut off. */
function documentsOf(tokens: readonly number[], tokenizer: Tokenizer): string[] {
  const documents: number[][] = [];
  for (const id of tokens) {
    if (id === BOS) documents.push([]);
    else if (id !== EOS) documents.at(-1)?.push(id);
  }
  return documents.map((ids) => tokenizer.decode(ids));
}

/** The paragraphs of the text without those that are held out. */
export function trainingParagraphs(text: string, heldOut: readonly string[]): string[] {
  const others = new Set(heldOut);
  const last = heldOut.at(-1);
  return splitText(text, { split: "paragraph", minLength: MIN_LENGTH })
    .filter((paragraph) => !others.has(paragraph))
    .filter((paragraph) => last === undefined || !paragraph.startsWith(last));
}

/** The data of a training, and where its tokenizer is. */
export interface JargonData {
  readonly data: TokenDataset;
  readonly validation: TokenDataset;
  readonly tokenizer: Tokenizer;
  /** Token ids of the validation rows. */
  readonly rows: readonly (readonly number[])[];
}

/**
 * Makes the data: everything but the paragraphs of `val_ids` in a reference.json, which are 32 rows of 256
 * tokens cut from one stream of paragraphs in random order.
 */
export async function loadData(text: string, directory: string): Promise<JargonData> {
  const tokenizer = await Tokenizer.load(directory);
  const reference = JSON.parse(fs.readFileSync(join(directory, "reference.json"), "utf8"));
  const rows: number[][] = reference.val_ids;
  const paragraphs = trainingParagraphs(text, documentsOf(rows.flat(), tokenizer));
  return {
    data: TokenDataset.fromTexts(paragraphs, tokenizer, {
      length: rows[0]!.length,
      bosTokenId: BOS,
      eosTokenId: EOS,
    }),
    validation: TokenDataset.fromRows(rows),
    tokenizer,
    rows,
  };
}
