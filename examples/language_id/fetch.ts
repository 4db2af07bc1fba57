// Downloads manual pages in many languages from Debian's archive and unpacks them.
//
//   bun examples/language_id/fetch.ts [--quick]
//   deno run -A examples/language_id/fetch.ts [--quick]
//
// Needs apt-get and dpkg-deb, but not root: nothing is installed. Everything stays in a folder of
// the user's cache, which the script names and which may be deleted at any time.

import * as fs from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { gunzipSync } from "node:zlib";
import { cacheFolder, fetchPackages } from "../debian/packages.ts";
import type { Page } from "./text.ts";

/** The languages with enough text, by the code in the name of their package. */
export const LANGUAGES: Readonly<Record<string, string>> = {
  cs: "Czech",
  da: "Danish",
  de: "German",
  en: "English",
  es: "Spanish",
  fi: "Finnish",
  fr: "French",
  hu: "Hungarian",
  id: "Indonesian",
  it: "Italian",
  nb: "Norwegian",
  nl: "Dutch",
  pl: "Polish",
  "pt-br": "Portuguese",
  ro: "Romanian",
  ru: "Russian",
  sr: "Serbian",
  sv: "Swedish",
  tr: "Turkish",
  uk: "Ukrainian",
  vi: "Vietnamese",
};

/** Those whose packages are small: 5 MB together, where all are 17 MB. */
export const QUICK_LANGUAGES: readonly string[] = [
  "cs",
  "da",
  "en",
  "fi",
  "hu",
  "it",
  "nb",
  "nl",
  "pt-br",
  "sr",
  "sv",
  "vi",
];

/** With fewer languages than this, telling them apart says little. */
export const MINIMUM_LANGUAGES = 10;

const packageOf = (language: string) => language === "en" ? "manpages" : `manpages-${language}`;

/** The pages in a folder and all below; links are other names of the same page. */
function readPages(folder: string): Page[] {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return readPages(path);
    if (!entry.isFile() || !entry.name.endsWith(".gz")) return [];
    return {
      name: entry.name.slice(0, -3),
      source: gunzipSync(fs.readFileSync(path)).toString("utf8"),
    };
  });
}

/**
 * The manual pages of each language, downloaded on the first run and read from the cache later.
 *
 * A language whose package cannot be had is named on standard error and left out.
 *
 * @throws {Error} Where apt-get or dpkg-deb is missing or fails, or too few languages are left.
 */
export async function fetchPages(
  languages: readonly string[] = Object.keys(LANGUAGES),
  cache: string = cacheFolder("manpages"),
): Promise<Map<string, Page[]>> {
  const isCached = (name: string) => fs.existsSync(join(cache, name));
  const wanted = languages.map(packageOf).filter((name) => !isCached(name));
  const missing = wanted.length > 0 ? await fetchPackages(wanted, cache) : [];
  const present = languages.filter((language) => isCached(packageOf(language)));
  if (present.length < MINIMUM_LANGUAGES) {
    throw new Error(
      `the packages of at least ${MINIMUM_LANGUAGES} languages are needed, got ${present.length}; ` +
        `apt-get finds no ${missing.join(", ")}`,
    );
  }
  if (missing.length > 0) {
    process.stderr.write(`Left out: apt-get finds no ${missing.join(", ")}\n`);
  }
  return new Map(
    present.map((language) =>
      [language, readPages(join(cache, packageOf(language), "usr", "share", "man"))] as const
    ),
  );
}

async function main(): Promise<void> {
  const start = performance.now();
  const quick = process.argv.includes("--quick");
  const pages = await fetchPages(quick ? QUICK_LANGUAGES : undefined);
  const count = [...pages.values()].reduce((sum, pages) => sum + pages.length, 0);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(
    `${count} pages in ${pages.size} languages, ${seconds} s, in ${cacheFolder("manpages")}`,
  );
}

if (import.meta.main) {
  main().catch((error: Error) => {
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  });
}
