// Manual pages as paragraphs of plain text: the prose stays, what was typeset literally goes.

/** Names of glyphs that occur in prose or give a name away; all others stand for no letter. */
const GLYPHS: Readonly<Record<string, string>> = {
  aq: "'",
  Aq: "'",
  oq: "'",
  cq: "'",
  hy: "-",
  en: "-",
  rs: "\\",
  at: "@",
  ss: "ß",
  AE: "Æ",
  ae: "æ",
  "/O": "Ø",
  "/o": "ø",
  "/L": "Ł",
  "/l": "ł",
};

/** The marks that a two-letter name may begin with, as combining characters. */
const ACCENTS: Readonly<Record<string, string>> = {
  "'": "\u0301",
  "`": "\u0300",
  "^": "\u0302",
  "~": "\u0303",
  ":": "\u0308",
  ",": "\u0327",
  o: "\u030a",
  v: "\u030c",
};

function glyph(name: string): string {
  if (Object.hasOwn(GLYPHS, name)) return GLYPHS[name]!;
  const code = /^u([0-9A-F]{4,6})$/.exec(name);
  if (code) return String.fromCodePoint(parseInt(code[1]!, 16));
  const accent = name.length === 2 ? ACCENTS[name[0]!] : undefined;
  return accent && /[a-z]/i.test(name[1]!) ? name[1]! + accent : " ";
}

/** Every escape with its arguments; fonts are looked at before. */
const ESCAPES = new RegExp(
  [
    String.raw`\\\*?\((?<two>..)`, // a glyph or a string with two letters
    String.raw`\\\*?\[(?<long>[^\]]*)\]`, // the same with any number of them
    String.raw`\\[*nmFgkMVY](?:\(..|\[[^\]]*\]|.)`, // registers, colours, other strings
    String.raw`\\s(?:\[[^\]]*\]|[+-]?\d?\d)`, // sizes
    String.raw`\\[hvwlLDXNoxbABCRSZ](?<quote>['"]).*?\k<quote>`, // motions, drawings, devices
    String.raw`\\(?<one>.)`,
  ].join("|"),
  "gu",
);

/** What a one-letter escape prints; all others, such as \& and \/, print nothing. */
const LETTERS: Readonly<Record<string, string>> = {
  "-": "-",
  "~": " ",
  " ": " ",
  "0": " ",
  t: " ",
  "`": "'",
  "'": "'",
  e: "\\",
};

function unescape(text: string): string {
  return text.replace(ESCAPES, (...match) => {
    const { two, long, one } = match.at(-1) as Record<string, string | undefined>;
    const name = two ?? long;
    if (name !== undefined) return glyph(name);
    return one === undefined ? "" : LETTERS[one] ?? "";
  });
}

const letters = (text: string) => text.match(/\p{L}/gu)?.length ?? 0;

/**
 * One paragraph without escapes, or "" where most of it is bold or italic: man pages set commands,
 * options and placeholders so, and a paragraph of those is a synopsis, in no language at all.
 */
function readParagraph(source: string): string {
  let text = "";
  let literal = 0;
  let plain = true;
  for (const part of source.split(/(\\f(?:\[\w*\]|\(..|.))/)) {
    if (part.startsWith("\\f")) {
      plain = /^\\f(?:\[(?:|R|P|1|CW)\]|\(CW|[RP1])$/.test(part);
      continue;
    }
    const piece = unescape(part);
    if (!plain) literal += letters(piece);
    text += piece;
  }
  if (2 * literal > letters(text)) return "";
  return text.normalize("NFC").replace(/\s+/g, " ").trim();
}

/** Requests whose arguments are part of the sentence: fonts, alone or alternating. */
const FONTS = /^(?:B|I|SM|SB|BR|RB|BI|IB|IR|RI)$/;

/** Requests that leave a paragraph as it is. */
const SILENT = /^(?:UR|MT|ad|fam|ft|hy|IX|na|ne|nh|nr|ns|PD|ss|ta|if|ie|el|ds|als|tr|\\?")/;

/** Requests that begin something other than prose, and what ends it. */
const BLOCKS: Readonly<Record<string, RegExp>> = {
  nf: /^\.\s*fi\b/,
  EX: /^\.\s*EE\b/,
  TS: /^\.\s*TE\b/,
  Vb: /^\.\s*Ve\b/,
  SY: /^\.\s*YS\b/,
  de: /^\.\./,
  ig: /^\.\./,
};

function setInFont(name: string, rest: string): string {
  const words = (rest.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replace(/^"|"$/g, ""));
  if (name === "SM" || name === "SB") return words.join(" ");
  if (name.length === 1) return `\\f${name}${words.join(" ")}\\fR`;
  return words.map((word, i) => `\\f${name[i % 2]}${word}\\fR`).join("");
}

/**
 * The paragraphs of a manual page written with the `man` macros: no headings, tags of lists,
 * tables, examples or synopses.
 *
 * A page of the other kind, `mdoc`, gives none: its sentences are scattered over macros.
 */
export function readParagraphs(roff: string): string[] {
  const paragraphs: string[] = [];
  if (/^\.Dd\b/m.test(roff)) return paragraphs;
  let lines: string[] = [];
  let end: RegExp | undefined;
  let tag = false;
  const finish = () => {
    const paragraph = readParagraph(lines.join(" "));
    if (paragraph) paragraphs.push(paragraph);
    lines = [];
  };
  const addLine = (line: string) => {
    if (tag) tag = false;
    else lines.push(line);
  };
  for (const line of roff.replace(/\\\n/g, "").split("\n")) {
    if (end) {
      if (end.test(line)) end = undefined;
      continue;
    }
    const request = /^[.']\s*(\S*)\s*(.*)$/.exec(line);
    if (!request) {
      if (line.trim()) addLine(line.replace(/(?<!\\)\\["#].*$/, ""));
      else finish();
      continue;
    }
    const [, name, rest] = request as unknown as [string, string, string];
    if (FONTS.test(name)) addLine(setInFont(name, rest));
    else if (name === "UE" || name === "ME") lines.push(rest);
    else if (!SILENT.test(name)) {
      finish();
      tag = name === "TP" || name === "TQ";
      if (Object.hasOwn(BLOCKS, name)) end = BLOCKS[name];
    }
  }
  finish();
  return paragraphs;
}
