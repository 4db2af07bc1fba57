// Inverse frequencies of rotary position embeddings, computed in float32 steps as Hugging Face does:
// a position of thousands multiplies every last bit of them.

import type { ModelConfig } from "./config.ts";

const f32 = Math.fround;

/** Returns the head_dim / 2 inverse frequencies of a model. */
export function inverseFrequencies(config: ModelConfig): Float32Array<ArrayBuffer> {
  const { headDim, rope } = config;
  const frequencies = new Float32Array(headDim / 2);
  for (let index = 0; index < frequencies.length; index += 1) {
    const exponent = f32((2 * index) / headDim);
    frequencies[index] = 1 / f32(Math.pow(f32(rope.theta), exponent));
  }
  if (rope.type === "linear") return frequencies.map((value) => value / f32(rope.factor));
  if (rope.type === "llama3") return frequencies.map((value) => llama3(value, rope));
  return frequencies;
}

/**
 * Long waves are stretched by `factor`, short ones kept, those between are blended. The order of
 * the float32 operations is that of the reference implementation.
 */
function llama3(frequency: number, rope: ModelConfig["rope"]): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = rope;
  const wavelength = f32(f32(1 / frequency) * f32(2 * Math.PI));
  const longest = f32(originalMaxPositions / lowFreqFactor);
  const shortest = f32(originalMaxPositions / highFreqFactor);
  if (wavelength > longest) return f32(frequency / f32(factor));
  if (wavelength < shortest) return frequency;
  const turns = f32(f32(1 / wavelength) * f32(originalMaxPositions));
  const smooth = f32(
    f32(turns - f32(lowFreqFactor)) / f32(highFreqFactor - lowFreqFactor),
  );
  const stretched = f32(f32(f32(1 - smooth) * frequency) / f32(factor));
  return f32(stretched + f32(smooth * frequency));
}
