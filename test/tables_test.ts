import assert from "node:assert/strict";
import { test } from "node:test";
import { loadModel } from "../mod.ts";
import { assertSame } from "./support.ts";

const JARGON = new URL("../examples/models/bitnet-jargon", import.meta.url);

test("a model keeps its tables as asked, and says how large they are", async () => {
  using model = await loadModel(JARGON);
  const ids = [1, 70, 3, 500, 41];
  const expected = model.forward(ids).logits;
  using base3 = await loadModel(JARGON, { layout: "base3" });
  assertSame(base3.forward(ids).logits, expected);
  const ratio = base3.ternaryBytes / model.ternaryBytes;
  assert.ok(ratio > 0.79 && ratio < 0.85, `base3 takes ${ratio} of the bytes of planes`);
  using bf16 = await loadModel(JARGON, { head: "bf16" });
  assertSame(bf16.forward(ids).logits, expected);
  assert.equal(bf16.headBytes, model.headBytes);
  using int8 = await loadModel(JARGON, { head: "int8" });
  assert.ok(int8.headBytes < 0.55 * model.headBytes, `int8 takes ${int8.headBytes} bytes`);
  const { logits } = int8.forward(ids);
  let error = 0;
  let norm = 0;
  logits.forEach((logit, index) => {
    error += (logit - expected[index]!) ** 2;
    norm += expected[index]! ** 2;
  });
  // Each of the two sides is rounded to 1 in 254 of its largest value, several times its mean.
  assert.ok(error > 0 && Math.sqrt(error / norm) < 0.03, `off by ${Math.sqrt(error / norm)}`);
});
