/** Error feedback: nothing is lost for good, and nothing is remembered twice. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type CodecName, type CodecOptions, createCodec, ErrorFeedback } from "../mod.ts";
import { gaussian, heavyTailed, norm } from "./gradients_reference.ts";
import { assertNear, assertSame, assertThrowsCode, onEveryTier, wrong } from "./support.ts";

const CASES: readonly (readonly [CodecName, CodecOptions])[] = [
  ["sign", {}],
  ["ternary", {}],
  ["rotated", { bits: 1 }],
  ["lowrank", { shape: [20, 50], rank: 2 }],
  ["vsa", {}],
  ["projection", { ratio: 2, gain: "contraction" }],
];

/** Gradients of a step. */
const gradientsAt = (step: number) => heavyTailed(1000, 100 + step);

describe("plain error feedback", () => {
  it("sends with the next gradients what was lost", () => {
    for (const [name, options] of CASES) {
      const feedback = new ErrorFeedback(createCodec(name, options));
      const codec = createCodec(name, options);
      let residual = new Float32Array(1000);
      for (let step = 0; step < 5; step++) {
        const gradients = gradientsAt(step);
        const input = gradients.map((value, i) => value + residual[i]!);
        const bytes = feedback.compress(gradients, { seed: step });
        const expected = codec.compress(input, { seed: step });
        assertSame(bytes, expected, `${name}, step ${step}`);
        const restored = codec.decompress(expected);
        residual = input.map((value, i) => value - restored[i]!);
        assertSame(feedback.decompress(bytes), restored);
        assertSame(feedback.state().residual!, residual);
      }
    }
  });

  it("brings the sum of all steps as near as one residual", () => {
    for (const [name, options] of CASES) {
      const feedback = new ErrorFeedback(createCodec(name, options));
      const [sent, wanted] = [new Float64Array(1000), new Float64Array(1000)];
      let largest = 0;
      for (let step = 0; step < 60; step++) {
        const gradients = gradientsAt(step);
        const restored = feedback.decompress(feedback.compress(gradients, { seed: step }));
        gradients.forEach((value, i) => {
          wanted[i]! += value;
          sent[i]! += restored[i]!;
        });
        largest = Math.max(largest, norm(gradients));
      }
      const left = norm(wanted.map((value, i) => value - sent[i]!));
      // 60 roundings in f32.
      assertNear([left], [norm(feedback.state().residual!)], 1e-4 * left, name);
      assert.ok(left < 25 * largest, `${name}: ${left / largest}`);
    }
  });
});

describe("EF21", () => {
  it("comes nearer to gradients that stay, and keeps both sides alike", () => {
    const gradients = gaussian(1000, 3);
    for (const [name, options] of CASES) {
      const sender = new ErrorFeedback(createCodec(name, options), { mode: "ef21" });
      const receiver = new ErrorFeedback(createCodec(name, options), { mode: "ef21" });
      const distances = Array.from({ length: 20 }, (_, step) => {
        const estimate = receiver.decompress(sender.compress(gradients, { seed: step }));
        assertSame(estimate, sender.state().estimate!);
        assertSame(estimate, receiver.state().received!);
        return norm(estimate.map((value, i) => value - gradients[i]!)) / norm(gradients);
      });
      assert.ok(distances[19]! < 0.4 * distances[0]!, `${name}: ${distances.join(" ")}`);
    }
  });
});

describe("momentum", () => {
  it("is what is sent instead of the gradients", () => {
    const momentum = 0.75;
    for (const mode of ["plain", "ef21"] as const) {
      const feedback = new ErrorFeedback(createCodec("sign"), { mode, momentum });
      const without = new ErrorFeedback(createCodec("sign"), { mode });
      let velocity = new Float32Array(1000);
      for (let step = 0; step < 4; step++) {
        const gradients = gradientsAt(step);
        velocity = velocity.map((value, i) => momentum * value + (1 - momentum) * gradients[i]!);
        const bytes = feedback.compress(gradients);
        assertSame(bytes, without.compress(velocity));
        assertNear(feedback.state().momentum!, velocity, 1e-7 * norm(velocity));
      }
    }
  });
});

describe("the state", () => {
  it("goes on where it was restored, on every tier", () => {
    for (const mode of ["plain", "ef21"] as const) {
      for (const momentum of [0, 0.9]) {
        const options = { mode, momentum };
        const first = new ErrorFeedback(createCodec("rotated", { bits: 1 }), options);
        for (let step = 0; step < 3; step++) {
          first.decompress(first.compress(gradientsAt(step), { seed: step }));
        }
        const state = first.state();
        const bytes = first.compress(gradientsAt(3), { seed: 3 });
        const restored = first.decompress(bytes);
        onEveryTier((tier) => {
          const second = new ErrorFeedback(createCodec("rotated", { bits: 1 }), options);
          second.restore(state);
          assertSame(second.compress(gradientsAt(3), { seed: 3 }), bytes, tier);
          assertSame(second.decompress(bytes), restored, tier);
        });
      }
    }
  });

  it("is as it was after an error, and empty after a reset", () => {
    const feedback = new ErrorFeedback(createCodec("ternary"), { momentum: 0.5 });
    feedback.compress(gradientsAt(0));
    const before = feedback.state();
    const bad = gradientsAt(1);
    bad[7] = NaN;
    assertThrowsCode(() => feedback.compress(bad), "invalid_value", /index 7/);
    assertThrowsCode(() => feedback.compress(new Float32Array(999)), "invalid_length");
    assertThrowsCode(
      () => feedback.compress(gradientsAt(1), { out: new Uint8Array(9) }),
      "invalid_length",
    );
    assert.deepEqual(feedback.state(), before);
    feedback.reset();
    assert.equal(feedback.state().residual, undefined);
    assert.ok(feedback.compress(new Float32Array(3).fill(1)).length > 0);
  });

  it("is taken over whole or not at all", () => {
    const plain = new ErrorFeedback(createCodec("sign"));
    const ef21 = new ErrorFeedback(createCodec("sign"), { mode: "ef21", momentum: 0.5 });
    const [three, four] = [Float32Array.of(1, 2, 3), Float32Array.of(1, 2, 3, 4)];
    assertThrowsCode(() => plain.restore({ estimate: three }), "invalid_option");
    assertThrowsCode(() => plain.restore({ momentum: three }), "invalid_option");
    assertThrowsCode(() => ef21.restore({ residual: three }), "invalid_option");
    assertThrowsCode(() => ef21.restore({ estimate: three, momentum: four }), "invalid_length");
    assertThrowsCode(() => ef21.restore({ estimate: Float32Array.of(NaN) }), "invalid_value");
    assertThrowsCode(() => ef21.restore({ estimate: new Float32Array(0) }), "invalid_length");
    assertThrowsCode(() => plain.restore(wrong(null)), "invalid_type");
    assert.deepEqual(
      ef21.state(),
      new ErrorFeedback(createCodec("sign"), { mode: "ef21" }).state(),
    );
    assertThrowsCode(() => new ErrorFeedback(wrong({})), "invalid_type");
    assertThrowsCode(
      () => new ErrorFeedback(createCodec("sign"), { momentum: 1 }),
      "invalid_value",
    );
    assertThrowsCode(
      () => new ErrorFeedback(createCodec("sign"), { mode: wrong("other") }),
      "invalid_option",
    );
  });
});

describe("what a codec remembers", () => {
  const options = { shape: [20, 50], rank: 2 } as const;

  it("goes on where it was restored, with and without feedback", () => {
    const make = [
      () => createCodec("lowrank", options),
      () => new ErrorFeedback(createCodec("lowrank", options)),
      () => new ErrorFeedback(createCodec("lowrank", options), { mode: "ef21", momentum: 0.5 }),
    ];
    for (const [which, create] of make.entries()) {
      const [first, second] = [create(), create()];
      for (let step = 0; step < 3; step++) first.compress(gradientsAt(step));
      second.restore(first.state());
      for (let step = 3; step < 6; step++) {
        const [a, b] = [first, second].map((codec) => codec.compress(gradientsAt(step)).slice());
        assertSame(a!, b!, `${which}, step ${step}`);
      }
      // Without what it remembers it begins anew.
      assert.notDeepEqual(create().compress(gradientsAt(5)), first.compress(gradientsAt(5)));
    }
  });

  it("is refused where it does not fit, and changes nothing then", () => {
    const feedback = new ErrorFeedback(createCodec("lowrank", options));
    feedback.compress(gradientsAt(1));
    const before = feedback.state();
    const nan = new Float32Array(100).fill(NaN);
    const residual = new Float32Array(1000);
    const bad: [Float32Array, string][] = [[nan, "invalid_value"], [
      residual,
      "invalid_length",
    ]];
    for (const [warmStart, code] of bad) {
      assertThrowsCode(() => feedback.restore({ residual, warmStart }), code);
      assertThrowsCode(() => feedback.codec.restore({ warmStart }), code);
      assert.deepEqual(feedback.state(), before);
    }
    const sign = createCodec("sign");
    assert.deepEqual(sign.state(), {});
    sign.restore({});
    const warmStart = new Float32Array(100);
    assertThrowsCode(() => sign.restore({ warmStart }), "invalid_option", /sign/);
    assertThrowsCode(() => sign.restore(wrong(7)), "invalid_type");
  });
});
