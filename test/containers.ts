// What is saved, built by its definition, and how it must be guarded.

import { Buffer } from "node:buffer";
import { assertThrowsCode } from "./support.ts";

/** XXH64 with seed 0, from its specification. */
export function xxh64(bytes: Uint8Array): bigint {
  const primes = [
    0x9e3779b185ebca87n,
    0xc2b2ae3d27d4eb4fn,
    0x165667b19e3779f9n,
    0x85ebca77c2b2ae63n,
    0x27d4eb2f165667c5n,
  ];
  const [p1, p2, p3, p4, p5] = primes as [bigint, bigint, bigint, bigint, bigint];
  const cut = (value: bigint) => BigInt.asUintN(64, value);
  const left = (value: bigint, bits: bigint) => cut(value << bits) | value >> (64n - bits);
  const round = (sum: bigint, lane: bigint) => cut(left(cut(sum + lane * p2), 31n) * p1);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let [hash, place] = [p5, 0];
  if (bytes.length >= 32) {
    const sums = [cut(p1 + p2), p2, 0n, cut(-p1)];
    for (; place + 32 <= bytes.length; place += 32) {
      sums.forEach((sum, lane) =>
        sums[lane] = round(sum, view.getBigUint64(place + 8 * lane, true))
      );
    }
    hash = cut(sums.reduce((total, sum, lane) => total + left(sum, [1n, 7n, 12n, 18n][lane]!), 0n));
    for (const sum of sums) hash = cut((hash ^ round(0n, sum)) * p1 + p4);
  }
  hash = cut(hash + BigInt(bytes.length));
  for (; place + 8 <= bytes.length; place += 8) {
    hash = cut(left(hash ^ round(0n, view.getBigUint64(place, true)), 27n) * p1 + p4);
  }
  if (place + 4 <= bytes.length) {
    hash = cut(left(hash ^ cut(BigInt(view.getUint32(place, true)) * p1), 23n) * p2 + p3);
    place += 4;
  }
  for (; place < bytes.length; place++) {
    hash = cut(left(hash ^ cut(BigInt(bytes[place]!) * p5), 11n) * p1);
  }
  hash = cut((hash ^ hash >> 33n) * p2);
  hash = cut((hash ^ hash >> 29n) * p3);
  return hash ^ hash >> 32n;
}

/** What is saved, by its definition; the checksum is right whatever the rest is. */
export function container(
  header: unknown,
  payload: Uint8Array,
  { version = 1, length }: { version?: number; length?: number } = {},
): Uint8Array {
  const text = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const start = Math.ceil((16 + text.length) / 8) * 8;
  const bytes = new Uint8Array(start + payload.length + 8);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("TRITVSA\0"));
  view.setUint32(8, version, true);
  view.setUint32(12, length ?? text.length, true);
  bytes.set(text, 16);
  bytes.set(payload, start);
  view.setBigUint64(bytes.length - 8, xxh64(bytes.subarray(0, -8)), true);
  return bytes;
}

/** The planes of rows of trits. */
export function planesOf(trits: Int8Array, dim: number): Uint8Array<ArrayBuffer> {
  const planes = new Uint8Array(trits.length / dim * 2 * Math.ceil(dim / 8));
  trits.forEach((trit, index) => {
    const first = Math.floor(index / dim) * 2 * Math.ceil(dim / 8);
    const place = index % dim;
    if (trit !== 0) planes[first + (place >> 3)]! |= 1 << (place & 7);
    if (trit < 0) planes[first + Math.ceil(dim / 8) + (place >> 3)]! |= 1 << (place & 7);
  });
  return planes;
}

/**
 * Every cut and every changed byte of something saved must be refused, and nothing must be kept. Where
 * the bytes lie makes no difference: a Buffer is often a part of a larger one.
 */
export function assertGuarded(saved: Uint8Array, load: (bytes: Uint8Array) => unknown): void {
  const loaded = load(Buffer.concat([Buffer.alloc(3), saved]).subarray(3)) as Partial<Disposable>;
  loaded[Symbol.dispose]?.();
  for (let length = 0; length < saved.length; length++) {
    assertThrowsCode(() => load(saved.subarray(0, length)), "invalid_format");
  }
  for (let place = 0; place < saved.length; place++) {
    for (const flipped of [1, 0x80, 0xff]) {
      const bytes = saved.slice();
      bytes[place]! ^= flipped;
      assertThrowsCode(() => load(bytes), "invalid_format");
    }
  }
  const longer = new Uint8Array(saved.length + 8);
  longer.set(saved);
  assertThrowsCode(() => load(longer), "invalid_format");
}
