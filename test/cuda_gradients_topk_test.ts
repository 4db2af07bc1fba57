// The codec "topk" for gradients on a device: bytes and gradients are those of the CPU, to the last bit.
import assert from "node:assert/strict";
import {
  type CodecOptions,
  createCodec,
  decompressGradients,
  ErrorFeedback,
  type GradientCodec,
  Tensor,
} from "../mod.ts";
import { assertNothingLeft, cudaTest } from "./cuda_support.ts";
import { gaussian, heavyTailed } from "./gradients_reference.ts";
import { assertSame, assertThrowsCode } from "./support.ts";

const device = "cuda";
/** Around a word of 32 and of 64, a block of threads, the whole sample, where pieces begin, and chunks. */
const SIZES = [
  ...[1, 3, 31, 33, 63, 64, 65, 1000, 8191, 8192, 8193, 65_537, 131_072, 131_073, 300_007],
  ...[2 ** 19 + 1, 2 ** 20, 2 ** 20 + 1, 3 * 2 ** 20 + 7],
];
const OPTIONS: readonly CodecOptions[] = [
  {},
  { method: "sampled" },
  { ratio: 3, bits: 4 },
  { ratio: 3, bits: 7, method: "sampled" },
  { ratio: 1000, bits: 5 },
  { ratio: 1000, method: "sampled" },
];

const label = (codec: GradientCodec, options: CodecOptions, what: string) =>
  `${codec.name} ${JSON.stringify(options)}, ${what}`;

/** Compresses and decompresses on both, and compares everything; returns the bytes. */
function compare(options: CodecOptions, gradients: Float32Array, what: string): Uint8Array {
  const codec = createCodec("topk", options);
  using there = Tensor.from(gradients, [gradients.length], { device });
  const expected = codec.compress(gradients);
  assertSame(codec.compress(there), expected, label(codec, options, `${what}: bytes`));
  using restored = codec.decompress(expected, { device });
  assertSame(
    restored.data(),
    codec.decompress(expected),
    label(codec, options, `${what}: gradients`),
  );
  return expected;
}

for (const size of SIZES) {
  cudaTest(`bytes of topk for ${size} gradients are the CPU's`, () => {
    assertNothingLeft(() => {
      for (const options of OPTIONS) {
        const bytes = compare(options, heavyTailed(size, size), `${size} gradients`);
        assert.ok(decompressGradients(bytes).some((value) => value !== 0));
        compare(options, gaussian(size, size + 1), `${size} normal gradients`);
      }
    });
  });
}

cudaTest("topk of zeros, equal, tiny and huge gradients is the CPU's", () => {
  for (const size of [1000, 200_003, 2 ** 20 + 100_001]) {
    const make = (value: (index: number) => number) =>
      Float32Array.from({ length: size }, (_, index) => value(index));
    const normal = gaussian(size, 5).map((value) => Math.max(-3, Math.min(3, value)));
    const kinds: Record<string, Float32Array> = {
      zeros: make(() => 0),
      "negative zeros": make(() => -0),
      // Equal ones are kept as far as a place in their order, which a sampled bound cannot say.
      equal: make((index) => index % 2 === 0 ? 0.5 : -0.5),
      steps: make((index) => 1 + (index * 7919) % 5),
      one: make((index) => index === size - 1 ? -3 : 0),
      "all in one chunk": make((index) => index > size - 900 ? index : 0),
      tiny: normal.map((value) => value * 1e-44),
      "largest of f32": make((index) => index % 3 === 0 ? 3.4028234663852886e38 : -1e-45),
      mixed: normal.map((value, index) => index % 700 === 3 ? value * 1e30 : value * 1e-30),
    };
    for (const [name, gradients] of Object.entries(kinds)) {
      for (const options of OPTIONS) compare(options, gradients, `${size}, ${name}`);
    }
  }
});

cudaTest("topk takes arrays to its device, and tensors that it writes to", () => {
  const gradients = heavyTailed(200_001, 1);
  const cpu = createCodec("topk", { ratio: 20 });
  const codec = createCodec("topk", { ratio: 20, device });
  assert.match(codec.device, /^cuda:/);
  const out = new Uint8Array(codec.maxBytes(gradients.length));
  const bytes = codec.compress(gradients, { out, seed: 7 });
  assert.equal(bytes.buffer, out.buffer);
  assertSame(bytes, cpu.compress(gradients, { seed: 7 }));
  const restored = new Float32Array(gradients.length);
  assert.equal(codec.decompress(bytes, { out: restored }), restored);
  assertSame(restored, cpu.decompress(bytes));
  // What the tensor held before is gone.
  using target = Tensor.from(gradients, [3, 66_667], { device });
  assert.equal(codec.decompress(bytes, { out: target }), target);
  assertSame(target.data(), restored);
});

cudaTest("topk names gradients that are not finite, and loses nothing", () => {
  assertNothingLeft(() => {
    const size = 2 ** 20 + 5000;
    for (const method of ["exact", "sampled"]) {
      for (const place of [0, 8191, 2 ** 20, size - 1]) {
        for (const value of [NaN, Infinity, -Infinity]) {
          const gradients = heavyTailed(size, 3);
          gradients[place] = value;
          using there = Tensor.from(gradients, [size], { device });
          const codec = createCodec("topk", { method });
          assertThrowsCode(() => codec.compress(there), "invalid_value", RegExp(`index ${place}$`));
        }
      }
    }
  });
});

cudaTest("error feedback with topk on the device is that of the CPU", () => {
  assertNothingLeft(() => {
    const make = () => new ErrorFeedback(createCodec("topk", { ratio: 30 }));
    const [cpu, there] = [make(), make()];
    for (let step = 0; step < 3; step++) {
      const gradients = heavyTailed(50_000, step);
      using tensor = Tensor.from(gradients, [50_000], { device });
      assertSame(there.compress(tensor), cpu.compress(gradients), `step ${step}`);
    }
    for (const feedback of [cpu, there]) feedback.reset();
  });
});
