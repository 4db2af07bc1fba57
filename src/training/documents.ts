// Text files as lists of documents, and which of them are held out.

import {
  checkChoice,
  checkCount,
  checkList,
  checkNumber,
  checkOptions,
  describe,
} from "../checks.ts";
import { tritterError } from "../errors.ts";
import { filePath, readText } from "../formats/mapped_file.ts";
import { Permutation } from "../vsa/permutation.ts";

const SPLITS = ["file", "paragraph", "line"] as const;

/** How a text is cut into documents. */
export interface DocumentOptions {
  /**
   * What a document is: a whole `"file"` (default), a `"line"`, or a `"paragraph"`, which ends at a
   * blank line and whose runs of white space become single spaces.
   */
  split?: "file" | "paragraph" | "line" | undefined;
  /** Documents of fewer characters (UTF-16 units) are left out. Default: 1. */
  minLength?: number | undefined;
}

/** Documents to learn from and documents to test with. */
export interface DocumentSplit {
  /** What is left to learn from, in its order. */
  readonly train: string[];
  /** What is held out, in its order. */
  readonly validation: string[];
}

/**
 * Cuts a text into documents.
 *
 * @example
 * ```ts
 * import { splitText } from "tritter-accel";
 *
 * const text = "A short\n  story.\n\n\nAnother one.\n";
 * console.log(splitText(text, { split: "paragraph" })); // [ "A short story.", "Another one." ]
 * ```
 */
export function splitText(text: string, options?: DocumentOptions): string[] {
  if (typeof text !== "string") {
    throw tritterError("invalid_type", `text must be a string, got ${typeof text}`);
  }
  const given = checkOptions(options, "options");
  const split = checkChoice(given.split, SPLITS, "split", "file");
  const minLength = checkCount(given.minLength ?? 1, "minLength");
  return documentsOf(text, split).filter((document) => document.length >= minLength);
}

function documentsOf(text: string, split: typeof SPLITS[number]): string[] {
  if (split === "file") return [text];
  if (split === "line") return text.split(/\r?\n/);
  return text.split(/\n\s*\n/).map((paragraph) => paragraph.trim().replace(/\s+/g, " "));
}

/**
 * Reads UTF-8 text files, each at most 256 MiB, and cuts them into documents.
 *
 * Throws `io` for a file that cannot be opened and `invalid_format` for one that is not UTF-8.
 *
 * @example
 * ```ts
 * import { readDocuments } from "tritter-accel";
 *
 * const documents = readDocuments(["README.md"], { split: "paragraph", minLength: 40 });
 * console.log(documents.length > 10); // true
 * ```
 */
export function readDocuments(
  files: readonly (string | URL)[],
  options?: DocumentOptions,
): string[] {
  if (!Array.isArray(files)) {
    throw tritterError("invalid_type", `files must be an array, got ${typeof files}`);
  }
  return files.flatMap((file, index) =>
    splitText(readText(filePath(file, `files[${index}]`)), options)
  );
}

/**
 * Holds a share of the documents out for testing, the same ones for the same seed.
 *
 * Equal documents stay on one side: whichever of them is drawn first decides. `share` is that of the
 * distinct documents, from 0 to 1.
 *
 * @example
 * ```ts
 * import { splitDocuments } from "tritter-accel";
 *
 * const documents = Array.from({ length: 100 }, (_, index) => `Document ${index}`);
 * const { train, validation } = splitDocuments(documents, { share: 0.05, seed: 1 });
 * console.log(train.length, validation.length); // 95 5
 * ```
 */
export function splitDocuments(
  documents: readonly string[],
  options: { share: number; seed?: number | undefined },
): DocumentSplit {
  const given = checkOptions(options, "options");
  const share = checkNumber(given.share, "share", { min: 0, max: 1 });
  const seed = checkCount(given.seed ?? 0, "seed");
  for (const [index, document] of checkList(documents, "documents").entries()) {
    if (typeof document === "string") continue;
    throw tritterError(
      "invalid_type",
      `documents[${index}] must be a string, got ${describe(document)}`,
    );
  }
  const distinct = [...new Set(documents)];
  if (distinct.length === 0) return { train: [], validation: [] };
  const order = Permutation.random(distinct.length, seed).toUint32Array();
  const heldOut = new Set<string>();
  const count = Math.round(share * distinct.length);
  for (const place of order.subarray(0, count)) heldOut.add(distinct[place]!);
  return {
    train: documents.filter((document) => !heldOut.has(document)),
    validation: distinct.filter((document) => heldOut.has(document)),
  };
}
