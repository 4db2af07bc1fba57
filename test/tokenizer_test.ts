// Text to token ids and back, whole and in pieces, and how models take it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { info, loadModel, StreamDecoder, TernaryModel, Tokenizer } from "../mod.ts";
import { withDirectory } from "./make_model.ts";
import { assertThrowsCode, wrong } from "./support.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const DIRECTORY = join(ROOT, "examples", "models", "bitnet-jargon");

test("a tokenizer encodes and decodes as the model was trained", async () => {
  const tokenizer = await Tokenizer.load(DIRECTORY);
  const { prompts } = JSON.parse(readFileSync(join(DIRECTORY, "reference.json"), "utf8"));
  for (const { text, ids, greedy_ids: greedy, greedy_text: greedyText } of prompts) {
    assert.deepEqual([tokenizer.bosTokenId, ...tokenizer.encode(text)], ids);
    assert.equal(tokenizer.decode(greedy), greedyText);
  }
  assert.deepEqual(tokenizer.encode(""), []);
  assert.equal(tokenizer.decode([]), "");
  assert.equal(tokenizer.decode([0, 582, 1, 99_999]), tokenizer.decode([582]));
  assert.equal(tokenizer.decode([0, 582], { skipSpecialTokens: false }), "<|bos|>The");
  assertThrowsCode(() => tokenizer.encode(wrong(7)), "invalid_type");
  assertThrowsCode(() => tokenizer.decode(wrong("7")), "invalid_type");
  assertThrowsCode(() => tokenizer.encode("a", wrong(null)), "invalid_type");
});

const TEXTS = [
  "plain words, don't . , ! x",
  "naïve café 🙂 日本語 → ‘frob’",
  "👩‍👩‍👧‍👦 \u{10FFFF} e\u0301\n\n  tabs\t\t end ",
  "real \uFFFD and \uFFFD\uFFFD ones \uFFFD",
  "🙂".repeat(50),
  " leading and trailing \n",
];

test("a stream of tokens gives the same text, no character in two pieces", async () => {
  const tokenizer = await Tokenizer.load(DIRECTORY);
  for (const text of TEXTS) {
    const stream = tokenizer.stream();
    const pieces = tokenizer.encode(text).map((id) => stream.push(id));
    pieces.push(stream.finish());
    assert.equal(pieces.join(""), text);
    if (text.includes("\uFFFD")) continue;
    for (const piece of pieces) assert.ok(!piece.includes("\uFFFD"), JSON.stringify(pieces));
  }
});

test("bytes that never become a character are shown at the end", async () => {
  const tokenizer = await Tokenizer.load(DIRECTORY);
  const bytes = tokenizer.encode("🙂");
  assert.ok(bytes.length > 1);
  const stream = tokenizer.stream();
  assert.equal(stream.push(bytes[0]!), "");
  assert.equal(stream.pending, true);
  assert.equal(stream.finish(), "\uFFFD");
  assert.equal(stream.pending, false);
  // A cut character in the middle: what follows is text again.
  const pieces = [...bytes.slice(0, -1), ...tokenizer.encode("ok")].map((id) => stream.push(id));
  assert.equal(pieces.join("") + stream.finish(), "\uFFFDok");
  const long = tokenizer.stream();
  const many = Array.from({ length: 100 }, () => long.push(bytes[0]!)).join("") + long.finish();
  assert.equal(many, "\uFFFD".repeat(100));
});

/** A tokenizer in the style of SentencePiece, where a word's space is part of its first token. */
function wordTokenizer(): Record<string, unknown> {
  const words = ["<s>", "</s>", "▁the", "▁cat", "▁", "s", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>"];
  return {
    added_tokens: [0, 1].map((id) => ({
      id,
      content: words[id],
      special: true,
      normalized: false,
      single_word: false,
      lstrip: false,
      rstrip: false,
    })),
    normalizer: null,
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "first" },
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(words.map((word, id) => [word, id])),
      merges: [],
      byte_fallback: true,
    },
  };
}

test("tokens that carry their space stream as they decode", async () => {
  const tokenizer = await Tokenizer.fromJson(wordTokenizer());
  const ids = [0, 2, 3, 5, 4, 6, 7, 8, 9, 3, ...Array(30).fill(2), 1];
  const stream = tokenizer.stream();
  const pieces = ids.map((id) => stream.push(id));
  assert.equal(pieces.join("") + stream.finish(), tokenizer.decode(ids));
  assert.equal(pieces[8], "🙂");
  // After a prompt, the first token keeps its space.
  assert.equal(tokenizer.stream([0, 2]).push(3), " cat");
});

test("damaged tokenizers are refused", async () => {
  for (const json of [{}, { model: 3 }, { ...wordTokenizer(), model: { type: "None" } }]) {
    await assert.rejects(Tokenizer.fromJson(json), { code: "invalid_format" });
  }
  await assert.rejects(Tokenizer.fromJson(wrong(null)), { code: "invalid_type" });
  await assert.rejects(Tokenizer.fromJson({}, wrong([])), { code: "invalid_type" });
  await assert.rejects(Tokenizer.load(join(DIRECTORY, "none")), { code: "io" });
});

test("models, tokenizers and decoders are made by their functions only", async () => {
  const tokenizer = await Tokenizer.load(DIRECTORY);
  const classes: [unknown, RegExp][] = [
    [TernaryModel, /TernaryModel is made by loadModel/],
    [Tokenizer, /Tokenizer is made by Tokenizer\.load/],
    [StreamDecoder, /StreamDecoder is made by Tokenizer\.stream/],
  ];
  for (const [type, message] of classes) {
    for (const args of [[], [tokenizer], [Symbol("Tokenizer"), {}, {}], [() => ""], [null, null]]) {
      assertThrowsCode(() => new (wrong(type))(...args), "invalid_type", message);
    }
  }
});

/** What a model makes of a text prompt: how many tokens it is, and the text after it. */
async function continueText(model: TernaryModel): Promise<[number, string]> {
  using cache = model.createCache({ maxTokens: 64 });
  let [tokens, text] = [0, ""];
  for await (const token of model.generate("A kluge is ", { cache, maxTokens: 12 })) {
    tokens += 1;
    text += token.text;
  }
  return [cache.length - tokens, text];
}

test("the begin token comes from config.json where the tokenizer's config names none", () =>
  withDirectory(async (directory) => {
    cpSync(DIRECTORY, directory, { recursive: true });
    using model = await loadModel(directory);
    const expected = await continueText(model);
    const path = join(directory, "tokenizer_config.json");
    for (const config of [null, {}, { add_bos_token: true }, { bos_token: "<|unknown|>" }]) {
      if (config === null) rmSync(path);
      else writeFileSync(path, JSON.stringify(config));
      using other = await loadModel(directory);
      assert.equal(other.tokenizer.bosTokenId, null);
      assert.deepEqual(await continueText(other), expected);
    }
    for (
      const config of [{ add_bos_token: false }, { add_bos_token: false, bos_token: "<|bos|>" }]
    ) {
      writeFileSync(path, JSON.stringify(config));
      using other = await loadModel(directory);
      assert.equal((await continueText(other))[0], expected[0] - 1);
    }
    // Neither file names one.
    const json = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
    writeFileSync(join(directory, "config.json"), JSON.stringify({ ...json, bos_token_id: null }));
    rmSync(path);
    using other = await loadModel(directory);
    assert.equal((await continueText(other))[0], expected[0] - 1);
  }));

test("without a tokenizer only ids are taken, and text is told why", () =>
  withDirectory(async (directory) => {
    cpSync(DIRECTORY, directory, { recursive: true });
    rmSync(join(directory, "tokenizer.json"));
    const cases: [TernaryModel, RegExp][] = [
      [await loadModel(DIRECTORY, { tokenizer: false }), /tokenizer: false/],
      [await loadModel(directory), /tokenizer\.json/],
    ];
    for (const [model, reason] of cases) {
      assert.equal(model.hasTokenizer, false);
      assertThrowsCode(() => model.tokenizer, "unsupported", reason);
      assertThrowsCode(() => model.generate("a"), "unsupported", reason);
      assertThrowsCode(() => model.generate([1], { stop: "a" }), "unsupported", reason);
      let tokens = 0;
      for await (const { text } of model.generate([0, 582], { maxTokens: 3 })) {
        assert.equal(text, "");
        tokens += 1;
      }
      assert.equal(tokens, 3);
      model[Symbol.dispose]();
    }
  }));

/** Run where the package of tokenizers cannot be found. */
const PROGRAM = `
import process from "node:process";
import { loadModel } from "./mod.ts";

using model = await loadModel(process.argv[2]);
console.log(model.hasTokenizer, model.forward([0, 582]).logits.length);
for (const needsText of [() => model.tokenizer, () => model.generate("a")]) {
  try {
    needsText();
  } catch (error) {
    console.log(error.code, error.message.split(":")[0]);
  }
}
`;

test("ids need no package of tokenizers, text says that it is missing", () =>
  withDirectory((directory) => {
    cpSync(join(ROOT, "mod.ts"), join(directory, "mod.ts"));
    cpSync(join(ROOT, "src"), join(directory, "src"), { recursive: true });
    writeFileSync(join(directory, "main.js"), PROGRAM);
    const options = "Deno" in globalThis ? ["run", "-A", "--no-npm"] : ["--no-install"];
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [...options, "main.js", DIRECTORY],
      {
        cwd: directory,
        encoding: "utf8",
        env: { ...process.env, NO_COLOR: "1", TRITTER_ACCEL_LIB: info().library },
      },
    );
    assert.equal(status, 0, stderr);
    const reason =
      "unsupported Text needs the npm package @huggingface/tokenizers, which could not be imported";
    assert.equal(stdout, `false 4096\n${reason}\n${reason}\n`);
  }));
