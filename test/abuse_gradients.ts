// The same for gradient codecs.

import * as api from "../mod.ts";

type Calls = Record<string, () => unknown[]>;

const floats = (length: number) => Float32Array.from({ length }, (_, at) => Math.sin(at + 1));
const codec = () => api.createCodec("sign");
const bytes = () => codec().compress(floats(100));
const sketch = () => api.createCodec("projection").compress(floats(100));
const compressor = () => new api.GradientCompressor();
const feedback = () => new api.ErrorFeedback(codec(), { mode: "ef21", momentum: 0.5 });

/** Made with `new` by anybody. */
export const GRADIENTS_CONSTRUCTED: Calls = {
  GradientCompressor: () => [
    { defaultCompressionRatio: 0.5, seed: 1, gradientClipping: 1, method: "dense", device: "cpu" },
  ],
  ErrorFeedback: () => [codec(), { mode: "ef21", momentum: 0.9 }],
};

export const GRADIENTS_VALID: Calls = {
  ...GRADIENTS_CONSTRUCTED,
  createCodec: () => ["lowrank", { shape: [4, 16], rank: 2, seed: 3n, device: "cpu" }],
  decompressGradients: () => [bytes(), { out: new Float32Array(100) }],
  compressedInfo: () => [bytes()],
  compressionStats: () => [floats(100), floats(100), bytes()],
  addCompressed: () => [sketch(), sketch(), { out: new Uint8Array(200) }],
  compressGradientsVsa: () => [floats(100), 0.5, 3],
  decompressGradientsVsa: () => [floats(50), 100, 3],
  "GradientCodec#maxBytes": () => [100],
  "GradientCodec#compress": () => [floats(100), { out: new Uint8Array(300), seed: 7 }],
  "GradientCodec#decompress": () => [bytes(), { out: new Float32Array(100) }],
  "GradientCompressor#compress": () => [floats(100), 0.25],
  "GradientCompressor#decompress": () => [compressor().compress(floats(100))],
  "GradientCompressor#compressTernary": () => [floats(100), 0.25],
  "GradientCompressor#decompressTernary": () => [compressor().compressTernary(floats(100))],
  "ErrorFeedback#compress": () => [floats(100), { seed: 7 }],
  "ErrorFeedback#decompress": () => [bytes(), { out: new Float32Array(100) }],
  "ErrorFeedback#restore": () => [{ estimate: floats(100), momentum: floats(100) }],
};

export const GRADIENTS_INSTANCES: Record<string, () => unknown> = {
  GradientCodec: codec,
  GradientCompressor: compressor,
  ErrorFeedback: feedback,
};
