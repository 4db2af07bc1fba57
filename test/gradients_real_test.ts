// What the codecs keep of gradients from a real training; see test/fixtures/gradients/README.md.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { compressionStats, createCodec, Safetensors } from "../mod.ts";

/** All tensors of a file, one after the other. */
function gradientsOf(step: number): Float32Array {
  const path = new URL(`./fixtures/gradients/step-${step}.safetensors`, import.meta.url);
  using file = Safetensors.open(path);
  const tensors = [...file.names].map((name) => file.readFloat32(name));
  const gradients = new Float32Array(tensors.reduce((sum, { length }) => sum + length, 0));
  let place = 0;
  for (const tensor of tensors) {
    gradients.set(tensor, place);
    place += tensor.length;
  }
  return gradients;
}

function cosineOf(
  gradients: Float32Array,
  codec: Parameters<typeof createCodec>[0],
  options: Parameters<typeof createCodec>[1],
): { cosine: number; ratio: number } {
  const made = createCodec(codec, options);
  const bytes = made.compress(gradients);
  const { cosine } = compressionStats(gradients, made.decompress(bytes), bytes.length);
  return { cosine, ratio: 4 * gradients.length / bytes.length };
}

describe("gradients of a real training", () => {
  for (const step of [50, 500, 1500]) {
    const gradients = gradientsOf(step);

    it(`step ${step}: entropy keeps what it promises, in true bytes`, () => {
      const least = [[10, 0.99], [16, 0.98], [20, 0.97], [32, 0.945], [50, 0.91], [100, 0.85]];
      for (const [wanted, must] of least as [number, number][]) {
        const { cosine, ratio } = cosineOf(gradients, "entropy", { ratio: wanted });
        assert.ok(ratio >= wanted && ratio < 1.05 * wanted, `${wanted}: ${ratio} times smaller`);
        assert.ok(cosine >= must, `${wanted}: cosine ${cosine}, must be ${must}`);
      }
      const { cosine } = cosineOf(gradients, "entropy", { cosine: 0.95 });
      assert.ok(cosine >= 0.95, `cosine ${cosine}`);
    });

    it(`step ${step}: rotated and projection do not depend on the gradients`, () => {
      // A single Hadamard round is not quite a random rotation: where few gradients hold the energy,
      // blocks differ by a few hundredths at 1 bit, by less with more bits.
      for (const [bits, expected, margin] of [[2, 0.939, 0.01], [1, 0.797, 0.02]] as const) {
        const { cosine } = cosineOf(gradients, "rotated", { bits });
        assert.ok(Math.abs(cosine - expected) < margin, `${bits} bits: ${cosine}`);
      }
      // The cosine of k of n random directions is sqrt(k / n) in the mean.
      const { cosine } = cosineOf(gradients, "projection", { ratio: 10 });
      assert.ok(Math.abs(cosine - Math.sqrt(0.1)) < 0.01, `projection: ${cosine}`);
    });
  }
});
