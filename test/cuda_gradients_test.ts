// Codecs of gradients on a device: bytes and gradients are those of the CPU, to the last bit.
import assert from "node:assert/strict";
import {
  type CodecName,
  type CodecOptions,
  createCodec,
  decompressGradients,
  ErrorFeedback,
  Tensor,
} from "../mod.ts";
import { assertNothingLeft, cudaTest } from "./cuda_support.ts";
import { build, gaussian, heavyTailed, parse } from "./gradients_reference.ts";
import { assertSame, assertThrowsCode, wrong } from "./support.ts";

const device = "cuda";
const SIZES = [1, 3, 15, 31, 33, 320, 600, 640, 1000, 4096, 4097, 13_000, 65_537, 300_007];
const ENTROPY: readonly CodecOptions[] = [{}, { ratio: 4 }, { ratio: 200 }, { cosine: 0.9 }, {
  cosine: 0.999,
}];

const CASES: readonly (readonly [CodecName, CodecOptions])[] = [
  ["sign", {}],
  ["sign", { block: 64 }],
  ["sign", { block: 1536 }],
  ["sign", { block: 2 ** 20 }],
  ["ternary", {}],
  ["ternary", { method: "twn", block: 320 }],
  ["ternary", { method: "absmean", block: 3200 }],
  ["ternary", { block: 320 * 1024 }],
  ...[1, 1.58, 2, 3, 4].map((bits) => ["rotated", { bits }] as const),
  ["rotated", { bits: 2, seed: 2n ** 64n - 1n }],
  ["projection", {}],
  ["projection", { ratio: 3, gain: "contraction", seed: 2n ** 64n - 1n }],
  ["projection", { ratio: 1 }],
  ["projection", { ratio: 1000 }],
  ["vsa", {}],
  ["vsa", { ratio: 100, seed: 9 }],
  ["vsa", { ratio: 20 }],
  ...ENTROPY.map((options) => ["entropy", options] as const),
];

const label = ([name, options]: (typeof CASES)[number], what: string) =>
  `${name} ${JSON.stringify(options, (_, value) => String(value))}, ${what}`;

/** Compresses and decompresses on both, and compares everything. */
function compare(kind: (typeof CASES)[number], gradients: Float32Array, what: string): void {
  const [name, options] = kind;
  const cpu = createCodec(name, options);
  using there = Tensor.from(gradients, [gradients.length], { device });
  const expected = cpu.compress(gradients);
  const bytes = cpu.compress(there);
  assertSame(bytes, expected, label(kind, `${what}: bytes`));
  using restored = cpu.decompress(bytes, { device });
  assert.equal(restored.device, there.device);
  assertSame(restored.data(), cpu.decompress(bytes), label(kind, `${what}: gradients`));
}

for (const size of SIZES) {
  cudaTest(`bytes of ${size} gradients are the CPU's`, () => {
    assertNothingLeft(() => {
      for (const kind of CASES) compare(kind, heavyTailed(size, size), `${size} gradients`);
    });
  });
}

cudaTest("zeros, tiny and huge gradients are the CPU's", () => {
  for (const size of [1000, 9001]) {
    for (const scale of [0, -0, 1e-44, 1e-39, 1e-20, 1e20, 3e37]) {
      const gradients = gaussian(size, 5).map((value) => Math.max(-3, Math.min(3, value)) * scale);
      for (const kind of CASES) {
        // Sums of 4096 that leave the range of f32 are refused; see below.
        if (kind[0] === "projection" && scale > 1e30) continue;
        compare(kind, gradients, `scale ${scale}`);
      }
    }
    const mixed = gaussian(size, 6).map((value, i) => i % 700 === 3 ? value * 1e30 : value * 1e-30);
    for (const kind of CASES) compare(kind, mixed, "mixed");
  }
});

cudaTest("arrays travel to the device of a codec and back", () => {
  const gradients = heavyTailed(10_001, 1);
  for (const [name, options] of CASES) {
    const cpu = createCodec(name, options);
    const codec = createCodec(name, { ...options, device });
    assert.match(codec.device, /^cuda:/);
    const out = new Uint8Array(codec.maxBytes(gradients.length));
    const bytes = codec.compress(gradients, { out, seed: 7 });
    assert.equal(bytes.buffer, out.buffer);
    assertSame(bytes, cpu.compress(gradients, { seed: 7 }));
    const restored = new Float32Array(gradients.length);
    assert.equal(codec.decompress(bytes, { out: restored }), restored);
    assertSame(restored, cpu.decompress(bytes));
  }
});

cudaTest("decompression writes to the tensor it is given", () => {
  const gradients = heavyTailed(5000, 2);
  const codec = createCodec("rotated");
  const bytes = codec.compress(gradients);
  using out = Tensor.from(new Float32Array(5000), [50, 100], { device });
  assert.equal(codec.decompress(bytes, { out }), out);
  assertSame(out.data(), codec.decompress(bytes));
  using again = decompressGradients(bytes, { device });
  assert.deepEqual(again.shape, [5000]);
  assertSame(again.data(), out.data());
  using short = Tensor.from(new Float32Array(4999), [4999], { device });
  assertThrowsCode(() => codec.decompress(bytes, { out: short }), "invalid_length", /5000/);
  using ints = Tensor.from(new Int32Array(5000), [5000], { device });
  assertThrowsCode(() => codec.decompress(bytes, { out: ints }), "invalid_type", /f32/);
  assertThrowsCode(
    () => codec.decompress(bytes, { out, device: "cpu" }),
    "invalid_value",
    /out must be on cpu/,
  );
});

cudaTest("gradients that are not finite are named, and lose nothing", () => {
  assertNothingLeft(() => {
    for (const [name, options] of CASES) {
      for (const place of [0, 4095, 4999]) {
        for (const value of [NaN, Infinity, -Infinity]) {
          const gradients = heavyTailed(5000, 3);
          gradients[place] = value;
          using there = Tensor.from(gradients, [5000], { device });
          const codec = createCodec(name, options);
          assertThrowsCode(() => codec.compress(there), "invalid_value", RegExp(`index ${place}`));
        }
      }
    }
    using huge = Tensor.from(new Float32Array(4096).fill(3e38), [4096], { device });
    const codec = createCodec("projection", { ratio: 1 });
    assertThrowsCode(() => codec.compress(huge), "invalid_value", /whose sums f32 can hold/);
  });
});

cudaTest("chunks of entropy are the CPU's, with blocks that are kept and cut", () => {
  assertNothingLeft(() => {
    // Two whole chunks of 2^19 and a bit.
    const long = heavyTailed(2 ** 20 + 7, 5);
    for (const options of ENTROPY) compare(["entropy", options], long, "2^20 + 7");
    const kept = gaussian(20_001, 6).map((value, i) => i % 700 === 3 ? value * 1e5 : value);
    for (const options of ENTROPY) compare(["entropy", options], kept, "kept");
    for (const ratio of [1, 1e6]) compare(["entropy", { ratio }], kept, "bounds");
  });
});

cudaTest("damaged chunks of entropy are refused as on the CPU", () => {
  const gradients = heavyTailed(50_000, 8);
  const codec = createCodec("entropy", { ratio: 8 });
  const count = gradients.length;
  const parsed = parse(codec.compress(gradients));
  using out = Tensor.from(gradients, [count], { device });
  let refused = 0;
  // Every part of the payload; the checksum is right.
  for (let place = 0; place < parsed.payload.length; place += 97) {
    const payload = parsed.payload.slice();
    payload[place]! ^= 0x55;
    const bad = build({ ...parsed, payload });
    let expected: Float32Array | undefined;
    try {
      expected = codec.decompress(bad);
    } catch {
      refused++;
    }
    if (expected === undefined) {
      assertThrowsCode(() => codec.decompress(bad, { out }), "invalid_format");
    } else {
      codec.decompress(bad, { out });
      assertSame(out.data(), expected, `byte ${place}`);
    }
  }
  assert.ok(refused > 0);
});

cudaTest("lowrank goes on from call to call as on the CPU", () => {
  assertNothingLeft(() => {
    for (
      const [rows, cols, rank] of [[1, 1, 1], [3, 5, 2], [33, 31, 4], [257, 100, 9], [65, 2049, 17]]
    ) {
      const options = { shape: [rows!, cols!] as const, rank: rank! };
      const [cpu, there] = [createCodec("lowrank", options), createCodec("lowrank", options)];
      for (let step = 0; step < 3; step++) {
        const gradients = heavyTailed(rows! * cols!, step);
        using tensor = Tensor.from(gradients, [rows!, cols!], { device });
        const bytes = there.compress(tensor);
        assertSame(bytes, cpu.compress(gradients), `${rows} x ${cols}, step ${step}`);
        using restored = there.decompress(bytes, { device });
        assertSame(restored.data(), cpu.decompress(bytes));
      }
      const bad = heavyTailed(rows! * cols!, 5);
      bad[bad.length - 1] = NaN;
      using tensor = Tensor.from(bad, [rows!, cols!], { device });
      assertThrowsCode(
        () => there.compress(tensor),
        "invalid_value",
        RegExp(`index ${bad.length - 1}`),
      );
      using zeros = Tensor.from(new Float32Array(rows! * cols!), [rows!, cols!], { device });
      assertSame(there.compress(zeros), cpu.compress(zeros.data()));
    }
  });
});

cudaTest("what has no kernels says so", () => {
  using there = Tensor.from(new Float32Array(100).fill(1), [100], { device });
  const dense = createCodec("projection", { method: "dense" });
  assertThrowsCode(() => dense.compress(there), "unsupported", /"dense"/);
  assertThrowsCode(() => createCodec("sign").compress(wrong([1])), "invalid_type");
});

cudaTest("error feedback on the device is that of the CPU", () => {
  assertNothingLeft(() => {
    for (const mode of ["plain", "ef21"] as const) {
      for (const momentum of [0, 0.9]) {
        const make = () =>
          new ErrorFeedback(createCodec("rotated", { bits: 1 }), { mode, momentum });
        const [cpu, there, receiver, other] = [make(), make(), make(), make()];
        for (let step = 0; step < 4; step++) {
          const gradients = heavyTailed(5000, step);
          using tensor = Tensor.from(gradients, [50, 100], { device });
          const expected = cpu.compress(gradients, { seed: step });
          // The third step is on the CPU: what is remembered goes with the gradients.
          const bytes = there.compress(step === 2 ? gradients : tensor, { seed: step });
          assertSame(bytes, expected, `${mode}, ${momentum}, step ${step}`);
          using restored = receiver.decompress(bytes, { device });
          assertSame(restored.data(), other.decompress(bytes));
        }
        const [state, known] = [there.state(), cpu.state()];
        for (const name of ["residual", "estimate", "momentum"] as const) {
          assert.equal(state[name] === undefined, known[name] === undefined);
          if (known[name] !== undefined) assertSame(state[name]!, known[name], name);
        }
        const copy = make();
        copy.restore(state);
        using tensor = Tensor.from(heavyTailed(5000, 9), [5000], { device });
        assertSame(copy.compress(tensor), there.compress(tensor));
        using short = Tensor.from(new Float32Array(4999), [4999], { device });
        assertThrowsCode(() => there.compress(short), "invalid_length", /5000/);
        using bad = Tensor.from(new Float32Array(5000).fill(NaN), [5000], { device });
        const fresh = make();
        assertThrowsCode(() => fresh.compress(bad), "invalid_value");
        assertSame(fresh.compress(tensor), make().compress(heavyTailed(5000, 9)));
        for (const feedback of [cpu, there, receiver, other, copy, fresh]) feedback.reset();
      }
    }
  });
});
