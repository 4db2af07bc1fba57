/** Texts cut into documents, documents into rows, and the order in which training sees them. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { readDocuments, splitDocuments, splitText, TokenDataset, Tokenizer } from "../mod.ts";
import { withDirectory } from "./make_model.ts";
import { assertThrowsCode, wrong } from "./support.ts";

const directory = new URL("../examples/models/bitnet-jargon", import.meta.url);

test("a text is cut into paragraphs, lines or nothing", () => {
  const text = "  One\n\ttwo. \n \t\nThree.\r\n\n\n\nFour.\n";
  assert.deepEqual(splitText(text), [text]);
  assert.deepEqual(splitText(text, { split: "paragraph" }), ["One two.", "Three.", "Four."]);
  assert.deepEqual(splitText(text, { split: "paragraph", minLength: 7 }), ["One two."]);
  assert.deepEqual(splitText("a\r\nb\n\nc", { split: "line" }), ["a", "b", "c"]);
  assert.deepEqual(splitText(""), []);
  assert.deepEqual(splitText("", { minLength: 0 }), [""]);
  assertThrowsCode(() => splitText(wrong(3)), "invalid_type");
  assertThrowsCode(() => splitText("", { split: wrong("word") }), "invalid_option", /paragraph/);
  assertThrowsCode(() => splitText("", { minLength: -1 }), "invalid_value");
});

test("files are read one after the other", () =>
  withDirectory((folder) => {
    const paths = ["a.txt", "b.txt"].map((name) => join(folder, name));
    writeFileSync(paths[0]!, "ä\nb");
    writeFileSync(paths[1]!, "c");
    const files = [paths[0]!, pathToFileURL(paths[1]!)];
    assert.deepEqual(readDocuments(files, { split: "line" }), ["ä", "b", "c"]);
    assertThrowsCode(() => readDocuments([join(folder, "none")]), "io");
    writeFileSync(paths[0]!, Uint8Array.of(0xff));
    assertThrowsCode(() => readDocuments(paths), "invalid_format", /UTF-8/);
    assertThrowsCode(() => readDocuments(wrong("a.txt")), "invalid_type");
    assertThrowsCode(() => readDocuments([wrong(1)]), "invalid_type", /files\[0\]/);
  }));

test("held-out documents are the same for the same seed, and never among those to learn from", () => {
  const documents = Array.from({ length: 1000 }, (_, index) => `document ${index % 700}`);
  const split = splitDocuments(documents, { share: 0.1, seed: 3 });
  assert.deepEqual(splitDocuments(documents, { share: 0.1, seed: 3 }), split);
  assert.notDeepEqual(splitDocuments(documents, { share: 0.1, seed: 4 }), split);
  assert.equal(split.validation.length, 70);
  const train = new Set(split.train);
  assert.ok(split.validation.every((document) => !train.has(document)));
  assert.equal(train.size + split.validation.length, 700);
  assert.deepEqual(splitDocuments([], { share: 0.5 }), { train: [], validation: [] });
  assert.equal(splitDocuments(documents, { share: 0 }).train.length, 1000);
  assert.equal(splitDocuments(documents, { share: 1 }).train.length, 0);
  assertThrowsCode(() => splitDocuments(documents, { share: 2 }), "invalid_value");
});

test("documents lie in the stream as BOS, text, EOS", async () => {
  const tokenizer = await Tokenizer.load(directory);
  const texts = ["foo", "A hacker is a person"];
  const tokens = texts.flatMap((text) => [0, ...tokenizer.encode(text), 1]);
  const options = { length: tokens.length - 1, eosTokenId: 1, shift: false };
  const data = TokenDataset.fromTexts(texts, tokenizer, options);
  assert.equal(data.tokens, tokens.length);
  assert.deepEqual([...data.inOrder(0, 1).ids], tokens.slice(0, -1));
  assert.deepEqual([...data.inOrder(0, 1).targets], tokens.slice(1));
  const bare = TokenDataset.fromTexts(texts, tokenizer, {
    length: tokens.length - 5,
    bosTokenId: null,
    shift: false,
  });
  assert.equal(bare.tokens, tokens.length - 4);
});

test("the targets of a stream are what follows, across the ends of rows", () => {
  const tokens = Int32Array.from({ length: 101 }, (_, index) => index);
  const data = TokenDataset.fromTokens(tokens, 10, { shift: false });
  assert.equal(data.rows, 10);
  const { ids, targets, shape } = data.inOrder(0, 10);
  assert.deepEqual(shape, [10, 10]);
  assert.deepEqual(ids, tokens.slice(0, 100));
  assert.deepEqual(targets, tokens.slice(1));
  // The tokens are a copy.
  tokens.fill(0);
  assert.equal(data.inOrder(9, 1).targets[9], 100);
});

test("rows of their own have no target at the end", () => {
  const data = TokenDataset.fromRows([[1, 2, 3], Int32Array.of(4, 5, 6)]);
  const { ids, targets } = data.inOrder(0, 2);
  assert.deepEqual([...ids], [1, 2, 3, 4, 5, 6]);
  assert.deepEqual([...targets], [2, 3, -100, 5, 6, -100]);
});

test("an epoch draws every row once, in another order than the last", () => {
  const data = TokenDataset.fromRows(Array.from({ length: 13 }, (_, row) => [row, row]));
  const drawn = (position: number, count: number, seed: number) =>
    [...data.batch(position, count, seed).ids].filter((_, index) => index % 2 === 0);
  const all = Array.from({ length: 13 }, (_, row) => row);
  const epochs = [0, 1, 2].map((epoch) => drawn(13 * epoch, 13, 5));
  for (const epoch of epochs) assert.deepEqual(epoch.toSorted((a, b) => a - b), all);
  assert.notDeepEqual(epochs[0], epochs[1]);
  assert.notDeepEqual(epochs[1], epochs[2]);
  assert.notDeepEqual(drawn(0, 13, 6), epochs[0]);
  // However the draws are cut, and in whatever order they are asked for, they are the same.
  const whole = epochs.flat();
  assert.deepEqual(drawn(20, 5, 5), whole.slice(20, 25));
  assert.deepEqual(drawn(8, 10, 5), whole.slice(8, 18));
});

test("every epoch of a stream may begin at another token", () => {
  const tokens = Int32Array.from({ length: 1000 }, (_, index) => index);
  const data = TokenDataset.fromTokens(tokens, 16);
  const shifts = Array.from({ length: 40 }, (_, epoch) => {
    const { ids, targets } = data.batch(epoch * data.rows, data.rows, 9);
    const starts = [...ids].filter((_, index) => index % 16 === 0).sort((a, b) => a - b);
    // Rows that do not overlap and leave nothing out.
    starts.forEach((start, row) => assert.equal(start, starts[0]! + 16 * row));
    ids.forEach((id, index) => assert.equal(targets[index], id + 1));
    return starts[0]!;
  });
  assert.ok(shifts.every((shift) => shift >= 0 && shift < 16));
  // Of 40 draws from 16 shifts about 16 (1 - (15/16)^40) = 14.8 differ, with a deviation of 0.9.
  assert.ok(new Set(shifts).size >= 10);
  // The last possible shift still has a target for its last token.
  const short = TokenDataset.fromTokens(tokens.subarray(0, 8), 4);
  assert.equal(short.rows, 1);
  for (let epoch = 0; epoch < 20; epoch += 1) {
    const { ids, targets } = short.batch(epoch, 1, 1);
    assert.equal(targets[3], ids[3]! + 1);
  }
});

test("data that makes no rows is refused", async () => {
  const tokenizer = await Tokenizer.load(directory);
  const tokens = new Int32Array(8);
  assertThrowsCode(() => TokenDataset.fromTokens(tokens, 8, { shift: false }), "invalid_length");
  assertThrowsCode(() => TokenDataset.fromTokens(tokens, 5), "invalid_length", /4 to shift by/);
  assertThrowsCode(() => TokenDataset.fromTokens(tokens, 0), "invalid_value");
  assertThrowsCode(() => TokenDataset.fromTokens(wrong([1, 2]), 1), "invalid_type");
  assertThrowsCode(() => TokenDataset.fromTokens(Int32Array.of(1, -1, 1), 1), "invalid_value");
  assertThrowsCode(() => TokenDataset.fromRows([]), "invalid_shape");
  assertThrowsCode(() => TokenDataset.fromRows([[1]]), "invalid_shape");
  assertThrowsCode(() => TokenDataset.fromRows([[1, 2], [3]]), "invalid_shape");
  assertThrowsCode(() => TokenDataset.fromRows([[1, -2]]), "invalid_value");
  assertThrowsCode(() => TokenDataset.fromTexts([], tokenizer, { length: 4 }), "invalid_length");
  assertThrowsCode(() => new (wrong(TokenDataset))(), "invalid_type", /made by/);
  const data = TokenDataset.fromTokens(tokens, 2);
  assertThrowsCode(() => data.batch(-1, 1, 1), "invalid_value");
  assertThrowsCode(() => data.batch(0, 0, 1), "invalid_value");
  assertThrowsCode(() => data.batch(0, 1, 2 ** 32), "invalid_value");
  assertThrowsCode(() => data.inOrder(3, 1), "invalid_value");
  assertThrowsCode(() => data.inOrder(0, 4), "invalid_value");
});
