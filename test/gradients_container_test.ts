/** Bytes of strangers: whatever they are, they are refused with an error of the library. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  addCompressed,
  type CodecName,
  type CodecOptions,
  compressedInfo,
  createCodec,
  decompressGradients,
} from "../mod.ts";
import { build, gaussian, parse, type Parsed } from "./gradients_reference.ts";
import { assertThrowsCode, seeded, wrong } from "./support.ts";

const CASES: readonly (readonly [CodecName, CodecOptions])[] = [
  ["sign", {}],
  ["ternary", {}],
  ["rotated", { bits: 1.58 }],
  ["rotated", { bits: 4 }],
  ["projection", {}],
  ["projection", { method: "dense" }],
  ["lowrank", { shape: [20, 50] }],
  ["vsa", {}],
  ["entropy", { ratio: 5 }],
  ["entropy", { cosine: 0.9 }],
  ["topk", {}],
];

const gradients = gaussian(1000, 1);
const all = CASES.map(([name, options]) => createCodec(name, options).compress(gradients));

/** Everything that reads bytes. */
const READERS: readonly ((bytes: Uint8Array) => unknown)[] = [
  decompressGradients,
  compressedInfo,
  (bytes) => createCodec("sign").decompress(bytes),
  (bytes) => addCompressed(bytes, bytes),
];

function assertRefused(bytes: Uint8Array, message?: RegExp): void {
  for (const read of READERS) assertThrowsCode(() => read(bytes), "invalid_format", message);
}

describe("containers of gradients", () => {
  it("are what their definition says", () => {
    for (const bytes of all) assert.deepEqual(build(parse(bytes)), Uint8Array.from(bytes));
  });

  it("are refused when any byte is another", () => {
    for (const bytes of all) {
      for (let place = 0; place < bytes.length; place += place < 80 ? 1 : 13) {
        const damaged = Uint8Array.from(bytes);
        damaged[place]! ^= 1 << (place % 8);
        assertRefused(damaged);
      }
    }
  });

  it("are refused when they are cut off or go on", () => {
    for (const bytes of all) {
      for (let length = 0; length < bytes.length; length += length < 80 ? 1 : 13) {
        assertRefused(bytes.subarray(0, length));
      }
      const longer = new Uint8Array(bytes.length + 1);
      longer.set(bytes);
      assertRefused(longer);
    }
  });

  it("are refused for what their headers say, although the checksum is right", () => {
    for (const bytes of all) {
      const parsed = parse(bytes);
      const forged: Partial<Parsed>[] = [
        { code: 0 },
        { code: 255 },
        { count: 0 },
        { count: 2 ** 32 },
        { count: 2 ** 52 },
        { count: 999_999_937 },
        ...(parsed.parameters.length > 0 ? [{ parameters: [] }] : []),
        { parameters: [...parsed.parameters, 1] },
        { payload: new Uint8Array(0) },
        { payload: parsed.payload.subarray(4) },
        ...[NaN, Infinity, -1, 0.5, 2 ** 53, 1e300].flatMap((value) =>
          parsed.parameters.map((_, index) => ({
            parameters: parsed.parameters.map((old, place) => place === index ? value : old),
          }))
        ),
      ];
      for (const change of forged) {
        const changed = build({ ...parsed, ...change });
        assertThrowsCode(() => decompressGradients(changed), "invalid_format");
        assertThrowsCode(() => compressedInfo(changed), "invalid_format");
      }
      assertRefused(build(parsed, { version: 2 }), /version/);
      assertRefused(build(parsed, { magic: "TRITVSA\0" }), /TRITGRAD/);
    }
  });

  it("are refused for scales, samples and trits that are none", () => {
    for (const [index, bytes] of all.entries()) {
      const parsed = parse(bytes);
      // Its payload begins with bits that say how it is read.
      if (CASES[index]![0] === "entropy") continue;
      const nan = Uint8Array.from(parsed.payload);
      nan.set([0, 0, 0xc0, 0x7f]);
      const changed = build({ ...parsed, payload: nan });
      assertThrowsCode(() => decompressGradients(changed), "invalid_format", /finite/);
      if (!["ternary", "vsa"].includes(CASES[index]![0]) && CASES[index]![1].bits !== 1.58) {
        continue;
      }
      const trits = Uint8Array.from(parsed.payload);
      trits[trits.length - 1] = 243;
      const bad = build({ ...parsed, payload: trits });
      assertThrowsCode(() => decompressGradients(bad), "invalid_format", /242/);
    }
  });

  it("never crash on payloads of noise", () => {
    const random = seeded(1);
    for (const bytes of all) {
      const parsed = parse(bytes);
      for (let round = 0; round < 50; round++) {
        const payload = parsed.payload.map((byte) => random() < 0.1 ? 256 * random() : byte);
        try {
          const restored = decompressGradients(build({ ...parsed, payload }));
          assert.equal(restored.length, 1000);
        } catch (error) {
          assert.equal((error as { code?: string }).code, "invalid_format", `${error}`);
        }
      }
    }
  });

  it("are read by a codec of their own name alone", () => {
    for (const [index, [name]] of CASES.entries()) {
      const other = name === "sign" ? "ternary" : "sign";
      assertThrowsCode(
        () => createCodec(other).decompress(all[index]!),
        "invalid_format",
        new RegExp(`"${other}", got "${name}"`),
      );
    }
    for (const value of [undefined, null, "TRITGRAD", new Float32Array(100), []]) {
      assertThrowsCode(() => decompressGradients(wrong(value)), "invalid_type");
    }
  });
});
