import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  type GeneratedToken,
  type GenerateOptions,
  info,
  loadModel,
  type TernaryModel,
} from "../mod.ts";
import { makeModel, withDirectory, writeModel } from "./make_model.ts";
import { assertThrowsCode, wrong } from "./support.ts";

const DIRECTORY = fileURLToPath(new URL("../examples/models/bitnet-jargon", import.meta.url));

async function withJargon<T>(use: (model: TernaryModel) => T | Promise<T>): Promise<T> {
  using model = await loadModel(DIRECTORY);
  return await use(model);
}

async function collect(
  model: TernaryModel,
  prompt: string | number[],
  options?: GenerateOptions,
): Promise<GeneratedToken[]> {
  const tokens = [];
  for await (const token of model.generate(prompt, options)) tokens.push(token);
  return tokens;
}

const textOf = (tokens: GeneratedToken[]) => tokens.map(({ text }) => text).join("");
const idsOf = (tokens: GeneratedToken[]) => tokens.map(({ id }) => id);

test("greedy text is that of the forward pass, with the begin token in front", () =>
  withJargon(async (model) => {
    const tokens = await collect(model, "A kluge is ", { maxTokens: 12 });
    const ids = [0, ...model.tokenizer.encode("A kluge is ")];
    for (const { id, logprob } of tokens) {
      const { logits } = model.forward(ids, { logits: "last" });
      const best = logits.indexOf(logits.reduce((a, b) => Math.max(a, b)));
      assert.equal(id, best);
      const total = logits.reduce((sum, value) => sum + Math.exp(value - logits[best]!), 0);
      assert.ok(Math.abs(logprob! + Math.log(total)) < 1e-4);
      ids.push(id);
    }
    assert.equal(textOf(tokens), model.tokenizer.decode(idsOf(tokens)));
    assert.deepEqual(await collect(model, ids.slice(0, -12), { maxTokens: 12 }), tokens);
  }));

test("a seed decides the text, and options change it", () =>
  withJargon(async (model) => {
    const draw = (options: GenerateOptions) =>
      collect(model, "The hacker ", { maxTokens: 20, temperature: 1, ...options }).then(textOf);
    const first = await draw({ seed: 1 });
    assert.equal(await draw({ seed: 1 }), first);
    assert.notEqual(await draw({ seed: 2 }), first);
    assert.notEqual(await draw({}), await draw({}));
    const greedy = await draw({ temperature: 0 });
    assert.equal(await draw({ topK: 1, seed: 3 }), greedy);
    assert.equal(await draw({ topP: 1e-9, seed: 3 }), greedy);
    assert.equal(await draw({ temperature: 1e-6, seed: 3 }), greedy);
  }));

test("drawn tokens follow the model's probabilities", () =>
  withJargon(async (model) => {
    const { logits } = model.forward([0, 582], { logits: "last" });
    const largest = logits.reduce((a, b) => Math.max(a, b));
    const total = logits.reduce((sum, value) => sum + Math.exp(value - largest), 0);
    const best = logits.indexOf(largest);
    let hits = 0;
    for (let seed = 0; seed < 400; seed++) {
      const [token] = await collect(model, [0, 582], { maxTokens: 1, temperature: 1, seed });
      if (token!.id === best) hits += 1;
    }
    const expected = 400 / total;
    assert.ok(Math.abs(hits - expected) < 5 * Math.sqrt(expected), `${hits}, expected ${expected}`);
  }));

test("text ends before a stop string, also one over several tokens", () =>
  withJargon(async (model) => {
    const options = { maxTokens: 40 };
    const whole = textOf(await collect(model, "The hacker ", options));
    for (const stop of [whole.slice(20, 23), whole.slice(15, 35), whole.slice(0, 4)]) {
      const text = textOf(await collect(model, "The hacker ", { ...options, stop }));
      assert.equal(text, whole.slice(0, whole.indexOf(stop)));
    }
    // A stop string that only begins to appear costs no text.
    const almost = [whole.slice(30, 40) + "\0", whole.slice(-3) + "\0"];
    assert.equal(textOf(await collect(model, "The hacker ", { ...options, stop: almost })), whole);
    const two = { ...options, stop: [whole.slice(50, 52), whole.slice(8, 10)] };
    const ends = two.stop.map((stop) => whole.indexOf(stop));
    const text = textOf(await collect(model, "The hacker ", two));
    assert.equal(text, whole.slice(0, Math.min(...ends)));
  }));

test("every token comes once and carries the text in order", () =>
  withJargon(async (model) => {
    const options = { maxTokens: 60, temperature: 2.5, seed: 9 };
    const tokens = await collect(model, "foo: ", options);
    assert.equal(tokens.length, 60);
    assert.equal(textOf(tokens), model.tokenizer.decode(idsOf(tokens)));
  }));

test("the end token ends the text and is not part of it", async () => {
  await withDirectory(async (directory) => {
    const made = makeModel();
    writeModel(directory, made);
    using free = await loadModel(directory);
    const all = await collect(free, [5, 6], { maxTokens: 12, temperature: 1, seed: 1 });
    assert.ok(all.every(({ text }) => text === ""));
    const end = all[4]!.id;
    const first = idsOf(all).indexOf(end);
    writeModel(directory, { ...made, config: { ...made.config, eos_token_id: [96, end] } });
    using model = await loadModel(directory);
    const tokens = await collect(model, [5, 6], { maxTokens: 12, temperature: 1, seed: 1 });
    assert.deepEqual(idsOf(tokens), idsOf(all).slice(0, first));
  });
});

test("a cache is continued and left with prompt and tokens", () =>
  withJargon(async (model) => {
    const greedy = idsOf(await collect(model, [0, 582, 617, 222], { maxTokens: 10 }));
    using cache = model.createCache({ maxTokens: 64 });
    const first = await collect(model, [0, 582, 617, 222], { maxTokens: 4, cache });
    assert.equal(cache.length, 8);
    const more = await collect(model, greedy.slice(4, 5), { maxTokens: 5, cache });
    assert.deepEqual([...idsOf(first), greedy[4], ...idsOf(more)], greedy);
    assert.equal(cache.length, 14);
    // Leaving early keeps what was taken, and no more.
    cache.clear();
    let taken = 0;
    for await (const _ of model.generate([0, 582], { maxTokens: 10, cache })) {
      if (++taken === 3) break;
    }
    assert.equal(cache.length, 5);
    // A text gets no second begin token in the middle.
    cache.clear();
    await collect(model, "The ", { maxTokens: 0, cache });
    const begun = cache.length;
    await collect(model, "cat ", { maxTokens: 0, cache });
    assert.equal(cache.length - begun, model.tokenizer.encode("cat ").length);
  }));

test("sampling from a cache continues as without a break", () =>
  withJargon(async (model) => {
    const options = { temperature: 1, seed: 5 };
    const whole = idsOf(await collect(model, [0, 582], { ...options, maxTokens: 10 }));
    using cache = model.createCache({ maxTokens: 64 });
    const first = idsOf(await collect(model, [0, 582], { ...options, maxTokens: 5, cache }));
    cache.truncate(cache.length - 1);
    const again = await collect(model, first.slice(-1), { ...options, maxTokens: 5, cache });
    assert.deepEqual([...first, ...idsOf(again)], whole);
  }));

test("a full cache ends the text with an error, a sliding one does not", () =>
  withJargon(async (model) => {
    using cache = model.createCache({ maxTokens: 6 });
    assertThrowsCode(() => model.generate([0, 1, 2, 3, 4, 5, 6], { cache }), "cache_full");
    const seen: number[] = [];
    await assert.rejects(async () => {
      for await (const { id } of model.generate([0, 582], { cache, maxTokens: 9 })) seen.push(id);
    }, { code: "cache_full" });
    assert.equal(seen.length, 5);
    assert.equal(cache.length, 6);
    using sliding = model.createCache({ maxTokens: 6, policy: "slide" });
    assert.equal((await collect(model, [0, 582], { cache: sliding, maxTokens: 9 })).length, 9);
  }));

test("a cache of its own grows, and long prompts are fed in pieces", () =>
  withDirectory(async (directory) => {
    // Without an end token, so that the text is as long as asked for.
    writeModel(directory, makeModel({ layers: 1, config: { eos_token_id: null } }));
    using model = await loadModel(directory);
    const prompt = Array.from({ length: 600 }, (_, index) => index * 7 % 97);
    const options = { maxTokens: 700, temperature: 3, seed: 1 };
    const ids = idsOf(await collect(model, prompt, options));
    assert.equal(ids.length, 700);
    using cache = model.createCache({ maxTokens: 2000 });
    assert.deepEqual(idsOf(await collect(model, prompt, { ...options, cache })), ids);
  }));

test("a signal aborts between tokens and pieces of the prompt", () =>
  withJargon(async (model) => {
    // Other tests' garbage may be freed meanwhile, so the number may also fall.
    const before = info().handles;
    const reason = new Error("enough");
    const early = AbortSignal.abort(reason);
    await assert.rejects(collect(model, [0], { signal: early }), reason);
    const controller = new AbortController();
    const seen: number[] = [];
    await assert.rejects(async () => {
      for await (const { id } of model.generate([0], { signal: controller.signal, maxTokens: 9 })) {
        seen.push(id);
        if (seen.length === 3) controller.abort(reason);
      }
    }, reason);
    assert.equal(seen.length, 3);
    // Timers run while text is generated.
    const timed = new AbortController();
    setTimeout(() => timed.abort(reason), 30);
    const endless = { maxTokens: 1_000_000, temperature: 5, seed: 1, signal: timed.signal };
    using cache = model.createCache({ maxTokens: 100_000 });
    await assert.rejects(async () => {
      for (;;) await collect(model, [0], { ...endless, cache });
    }, reason);
    const length = cache.length;
    const late = AbortSignal.abort(reason);
    await assert.rejects(collect(model, [5, 6], { cache, signal: late }), reason);
    assert.equal(cache.length, length);
    cache[Symbol.dispose]();
    assert.ok(info().handles <= before);
  }));

test("a model disposed while generating ends the text with an error", async () => {
  using model = await loadModel(DIRECTORY);
  using cache = model.createCache({ maxTokens: 32 });
  await assert.rejects(async () => {
    for await (const _ of model.generate([0], { cache })) model[Symbol.dispose]();
  }, { code: "disposed" });
  assert.ok(cache.length > 0);
});

test("two texts at once do not disturb each other", () =>
  withJargon(async (model) => {
    const options = { maxTokens: 12 };
    const alone = [
      textOf(await collect(model, "foo: ", options)),
      textOf(await collect(model, "A kluge is ", options)),
    ];
    const together = await Promise.all([
      collect(model, "foo: ", options).then(textOf),
      collect(model, "A kluge is ", options).then(textOf),
    ]);
    assert.deepEqual(together, alone);
  }));

test("options are checked before anything runs", () =>
  withJargon((model) => {
    const cases: [GenerateOptions | unknown, string][] = [
      [{ maxTokens: -1 }, "invalid_value"],
      [{ maxTokens: 1.5 }, "invalid_value"],
      [{ maxTokens: "9" }, "invalid_type"],
      [{ temperature: NaN }, "invalid_value"],
      [{ temperature: -0.1 }, "invalid_value"],
      [{ temperature: Infinity }, "invalid_value"],
      [{ topK: -1 }, "invalid_value"],
      [{ topK: 2.5 }, "invalid_value"],
      [{ topP: 0 }, "invalid_value"],
      [{ topP: 1.01 }, "invalid_value"],
      [{ topP: NaN }, "invalid_value"],
      [{ seed: -1 }, "invalid_value"],
      [{ seed: 2 ** 53 }, "invalid_value"],
      [{ seed: 1n }, "invalid_type"],
      [{ stop: "" }, "invalid_value"],
      [{ stop: ["a", ""] }, "invalid_value"],
      [{ stop: [1] }, "invalid_type"],
      [{ stop: 1 }, "invalid_type"],
      [{ signal: {} }, "invalid_type"],
      [{ cache: {} }, "invalid_type"],
      [null, "invalid_type"],
      [[], "invalid_type"],
    ];
    for (const [options, code] of cases) {
      assertThrowsCode(() => model.generate("a", wrong(options)), code);
    }
    assertThrowsCode(() => model.generate(""), "invalid_length");
    assertThrowsCode(() => model.generate([]), "invalid_length");
    assertThrowsCode(() => model.generate([2048]), "invalid_value");
    assertThrowsCode(() => model.generate(wrong(5)), "invalid_type");
  }));

test("one cache serves one generation at a time", () =>
  withJargon(async (model) => {
    using cache = model.createCache({ maxTokens: 64 });
    const options = { cache, maxTokens: 6 };
    const alone = idsOf(await collect(model, [0, 582], { maxTokens: 6 }));
    const inUse = /cache is in use by another generation/;
    // Checked and not yet begun: nobody owns the cache.
    const late = model.generate([0, 582], options);
    const first = model.generate([0, 582], options);
    const ids = [(await first.next()).value!.id];
    assertThrowsCode(() => model.generate([5], options), "invalid_value", inUse);
    assertThrowsCode(() => model.forward([5], { cache }), "invalid_value", inUse);
    await assert.rejects(late.next(), { code: "invalid_value", message: inUse });
    using other = model.createCache({ maxTokens: 64 });
    model.forward([5], { cache: other });
    for await (const { id } of first) ids.push(id);
    assert.deepEqual(ids, alone);
    assert.equal(cache.length, 8);
    model.forward([5], { cache });
  }));

test("a cache is free again however the generation ends", () =>
  withJargon(async (model) => {
    using cache = model.createCache({ maxTokens: 8 });
    const isFree = () => {
      cache.clear();
      model.forward([0], { cache });
    };
    for await (const _ of model.generate([0, 582], { cache })) break;
    isFree();
    await model.generate([5], { cache }).return();
    isFree();
    const stopped = new Error("enough");
    await assert.rejects(async () => {
      for await (const _ of model.generate([0, 582], { cache })) throw stopped;
    }, stopped);
    isFree();
    const signal = AbortSignal.abort(stopped);
    await assert.rejects(collect(model, [5], { cache, signal }), stopped);
    isFree();
    await assert.rejects(collect(model, [0, 582], { cache }), { code: "cache_full" });
    isFree();
    // The cache of a generation that fails at its first step was never taken.
    using gone = model.createCache({ maxTokens: 8 });
    const late = model.generate([5], { cache: gone });
    gone[Symbol.dispose]();
    await assert.rejects(late.next(), { code: "disposed" });
  }));

test("options that are undefined are those left out", () =>
  withJargon(async (model) => {
    const options: GenerateOptions = {
      maxTokens: 4,
      temperature: undefined,
      topK: undefined,
      topP: undefined,
      seed: undefined,
      stop: undefined,
      signal: undefined,
      cache: undefined,
    };
    assert.deepEqual(
      await collect(model, "foo: ", options),
      await collect(model, "foo: ", { maxTokens: 4 }),
    );
    const { logits } = model.forward([0, 582], { cache: undefined, logits: undefined });
    assert.equal(logits.length, 2 * model.config.vocabSize);
    using cache = model.createCache({ maxTokens: undefined, policy: undefined });
    assert.equal(cache.maxTokens, model.config.maxPositions);
    const unset = { device: undefined, threads: undefined, onProgress: undefined };
    using again = await loadModel(DIRECTORY, { ...unset, tokenizer: undefined });
    assert.equal(again.hasTokenizer, true);
    const decoded = again.tokenizer.decode(
      again.tokenizer.encode("foo", { addSpecialTokens: undefined }),
      { skipSpecialTokens: undefined },
    );
    assert.equal(decoded, "foo");
  }));
