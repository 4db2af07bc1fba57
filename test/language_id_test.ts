/** What the example of language identification does with text, before any classifier sees it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { drawConfusion, measureAccuracy } from "../examples/language_id/confusion.ts";
import { readParagraphs } from "../examples/language_id/roff.ts";
import {
  buildCorpora,
  isHeldOut,
  normalizeText,
  type Page,
  splitSentences,
} from "../examples/language_id/text.ts";

describe("readParagraphs", () => {
  const cases: [string, string, string[]][] = [
    ["leaves headings and comments out", '.\\" none\n.TH CP 1\n.SH NAVN\nEn fil\n', ["En fil"]],
    ["joins lines", "Kopi\xe9r en fil\ntil en anden.\n", ["Kopiér en fil til en anden."]],
    ["cuts at blank lines and requests", "En.\n\nTo.\n.PP\nTre.\n", ["En.", "To.", "Tre."]],
    ["leaves tags out", ".TP\n\\fB\\-x\\fP eller y\nvis alt\n.IP tag 4\nog mere", [
      "vis alt",
      "og mere",
    ]],
    ["reads font requests", 'se siden\n.BR fstab (5)\n.I "a b"\nom det', [
      "se siden fstab(5) a b om det",
    ]],
    ["reads links", "se\n.UR http://x\nsiden\n.UE .\nNu", ["se siden . Nu"]],
    ["leaves examples and tables out", "A\n.nf\ncode\n.fi\nB\n.TS\nl l.\n.TE\nC", ["A", "B", "C"]],
    ["leaves synopses out", "\\fBcp\\fP [\\fIFLAG\\fP] \\fI\\,KILDE\\/\\fP og", []],
    ["reads escapes", "l\\(aqun\\*(Aqo\\ a\\-b \\s-1C\\s0 \\m[blue]d\\m[] \\[:a]\\('e", [
      "l'un'o a-b C d äé",
    ]],
    ["composes characters", "a\u0308 \\[u00E9]", ["ä é"]],
    ["reads nothing in mdoc", ".Dd May 1\nA text.\n", []],
  ];
  for (const [name, source, expected] of cases) {
    it(name, () => assert.deepEqual(readParagraphs(source), expected));
  }
});

describe("normalizeText", () => {
  it("leaves lower-case words and single spaces", () => {
    assert.equal(normalizeText("  Der  „große“ Hund — 2 Mal\tmehr! "), "der große hund mal mehr");
    assert.equal(normalizeText("L’option d'un 'mot'"), "l'option d'un mot");
    assert.equal(normalizeText("Cafe\u0301"), "café");
  });

  it("leaves out what is the same in every language", () => {
    assert.equal(normalizeText("se /etc/fstab og (--help), foo_bar a@b.c x86 nu"), "se og nu");
  });
});

describe("splitSentences", () => {
  it("cuts after a full stop before a capital letter", () => {
    const parts = ["Én fil.", "(To filer!)", "¿Qué? no", "z.B. dies."];
    assert.deepEqual(splitSentences("Én fil. (To filer!) ¿Qué? no"), parts.slice(0, 3));
    assert.deepEqual(splitSentences("z.B. dies."), parts.slice(3));
  });
});

/** Distinct words of letters, so that sentences share none. */
function inventSentence(prefix: string, number: number): string {
  const letters = [...String(number)].map((digit) => "abcdefghij"[Number(digit)]).join("");
  return ["ono", "tri", "kva", "sep", "nau", "dek", "unu"].map((word) => prefix + word + letters)
    .join(" ");
}

function inventPages(prefix: string): Page[] {
  return Array.from({ length: 60 }, (_, i) => ({
    name: `${inventSentence("p", i).split(" ")[0]}.1`,
    source: `.TH X 1\n${inventSentence(prefix, i)}.\n.PP\nThe file that was not translated.\n`,
  }));
}

describe("isHeldOut", () => {
  it("takes one page in five", () => {
    const names = Array.from({ length: 5000 }, (_, i) => inventSentence("page", i).split(" ")[0]!);
    const share = names.filter((name) => isHeldOut(`${name}.1`)).length / names.length;
    // Five standard deviations of a share of 5000 draws: 5 sqrt(0.2 * 0.8 / 5000) = 0.028.
    assert.ok(Math.abs(share - 0.2) < 0.028, `got ${share}`);
  });

  it("does not look at sections and digits", () => {
    for (const stem of ["sum", "intro", "mkfs.ext", "a", "b", "c", "d", "e", "f"]) {
      assert.equal(isHeldOut(`${stem}1.1`), isHeldOut(`${stem}256.8`));
    }
  });
});

describe("buildCorpora", () => {
  const options = { testLength: 40 };
  const build = (turn: (pages: Page[]) => Page[]) =>
    buildCorpora(
      new Map(["en", "da", "fi"].map((name) => [name, turn(inventPages(name))])),
      options,
    );

  it("tests with other pages than it learns from", () => {
    for (const { language, train, test } of build((pages) => pages)) {
      assert.ok(test.length > 0 && test.every((sentence) => !train.includes(sentence)));
      for (const page of inventPages(language)) {
        const sentence = normalizeText(readParagraphs(page.source)[0]!);
        assert.ok((isHeldOut(page.name) ? test : train).includes(sentence));
      }
    }
  });

  it("keeps English in English only", () => {
    const sentence = "the file that was not translated";
    const [english, ...others] = build((pages) => pages);
    assert.ok(english!.train.includes(sentence));
    assert.equal(english!.untranslated, 0);
    for (const { train, test, untranslated } of others) {
      assert.ok(![...train, ...test].includes(sentence));
      assert.equal(untranslated, 1);
    }
  });

  it("does not depend on the order of pages", () => {
    assert.deepEqual(build((pages) => pages.toReversed()), build((pages) => pages));
  });

  it("keeps to its limits", () => {
    const pages = new Map([["da", inventPages("da")], ["fi", inventPages("fi")]]);
    const limits = { trainCharacters: 500, testSentences: 2, testLength: 45 };
    for (const { train, test } of buildCorpora(pages, limits)) {
      const characters = train.join("").length;
      assert.ok(characters > 400 && characters <= 500, `got ${characters}`);
      assert.equal(test.length, 2);
      assert.ok(test.every((sentence) => sentence.length >= 45));
    }
  });
});

describe("drawConfusion", () => {
  const confusion = { labels: ["A & B", "<C>"], counts: [[9, 1], [0, 30]] };

  it("states the accuracy", () => {
    assert.deepEqual(measureAccuracy(confusion), { accuracy: 39 / 40, mean: 0.95 });
    assert.match(drawConfusion(confusion, "Test"), />Test: 97\.50 % right</);
  });

  it("draws the cells that have sentences, and the diagonal", () => {
    const svg = drawConfusion(confusion);
    assert.equal(svg.match(/<rect x=/g)?.length, 3);
    assert.match(svg, />A &amp; B</);
    assert.match(svg, />&lt;C&gt;</);
    assert.match(svg, />90\.0</);
    assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
  });

  it("takes a language without sentences", () => {
    const svg = drawConfusion({ labels: ["A", "B"], counts: [[3, 0], [0, 0]] });
    assert.match(svg, /100\.00 % right/);
    assert.doesNotMatch(svg, /NaN/);
  });

  it("refuses what is not square", () => {
    assert.throws(() => drawConfusion({ labels: ["A", "B"], counts: [[1, 2]] }), {
      name: "RangeError",
      message: /^counts must have 2 rows and columns/,
    });
  });
});
