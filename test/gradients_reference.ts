// The gradient codecs by their definitions, step by step in float64: what is in a container, and what
// it stands for.

import { xxh64 } from "./containers.ts";
import { seeded } from "./support.ts";

/** Philox4x32-10. */
function philox(counter: readonly number[], seed: bigint): number[] {
  let [a, b, c, d] = counter as [number, number, number, number];
  let [x, y] = [Number(seed & 0xffffffffn), Number(seed >> 32n)];
  for (let round = 0; round < 10; round++) {
    const low = BigInt(a) * 0xd2511f53n;
    const high = BigInt(c) * 0xcd9e8d57n;
    [a, b, c, d] = [
      Number(high >> 32n) ^ b ^ x,
      Number(high & 0xffffffffn),
      Number(low >> 32n) ^ d ^ y,
      Number(low & 0xffffffffn),
    ].map((word) => word >>> 0) as [number, number, number, number];
    [x, y] = [(x + 0x9e3779b9) >>> 0, (y + 0xbb67ae85) >>> 0];
  }
  return [a, b, c, d];
}

/** The first words of a row, for counters that end in `domain`. */
function words(count: number, row: number, domain: number, seed: bigint): number[] {
  const blocks = Math.ceil(count / 4);
  return Array.from({ length: blocks }, (_, block) => philox([block, row, 0, domain], seed)).flat();
}

/** -1 or 1 for each place, by bits of words. */
function signs(count: number, row: number, domain: number, seed: bigint): number[] {
  const drawn = words(Math.ceil(count / 32), row, domain, seed);
  return Array.from({ length: count }, (_, i) => (drawn[i >> 5]! >>> (i & 31)) & 1 ? -1 : 1);
}

const SIGNS = 5;
const SAMPLES = 6;
const DENSE = 7;
const KEYS = 1;

/** The Walsh-Hadamard transform, not normalised. */
function hadamard(values: Float64Array): Float64Array {
  for (let h = 1; h < values.length; h *= 2) {
    for (let i = 0; i < values.length; i++) {
      if (i & h) continue;
      const [a, b] = [values[i]!, values[i + h]!];
      values[i] = a + b;
      values[i + h] = a - b;
    }
  }
  return values;
}

interface Block {
  start: number;
  count: number;
  size: number;
}

/** Blocks of 4096, then powers of two: exact, or padded to at least 16. */
export function blocksOf(count: number, padded: boolean): Block[] {
  const blocks: Block[] = [];
  for (let start = 0; start < count;) {
    const left = count - start;
    let size = Math.min(2 ** Math.floor(Math.log2(left)), 4096);
    if (padded && size < 4096 && left > size && 4 * left > 6 * size) size *= 2;
    if (padded) size = Math.max(size, 16);
    blocks.push({ start, count: Math.min(left, size), size });
    start += size;
  }
  return blocks;
}

/** A block with its signs, transformed. */
export function rotate(
  values: Float32Array,
  block: Block,
  row: number,
  seed: bigint,
): Float64Array {
  const sign = signs(block.count, row, SIGNS, seed);
  const rotated = new Float64Array(block.size);
  for (let i = 0; i < block.count; i++) rotated[i] = values[block.start + i]! * sign[i]!;
  return hadamard(rotated);
}

/** The reverse, up to a factor of the size. */
function rotateBack(values: Float64Array, count: number, row: number, seed: bigint) {
  const sign = signs(count, row, SIGNS, seed);
  return hadamard(values).slice(0, count).map((value, i) => value * sign[i]!);
}

/** What a container says and holds. */
export interface Parsed {
  code: number;
  count: number;
  seed: bigint;
  parameters: number[];
  payload: Uint8Array;
}

export function parse(bytes: Uint8Array): Parsed {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const parameters = view.getUint8(11);
  const start = 40 + 8 * parameters;
  return {
    code: view.getUint8(10),
    count: Number(view.getBigUint64(16, true)),
    seed: view.getBigUint64(24, true),
    parameters: Array.from(
      { length: parameters },
      (_, index) => view.getFloat64(40 + 8 * index, true),
    ),
    payload: bytes.slice(start, start + Number(view.getBigUint64(32, true))),
  };
}

/** A container with a checksum that is right, whatever the rest is. */
export function build(
  parsed: Parsed,
  header: { version?: number; magic?: string } = {},
): Uint8Array {
  const { code, count, seed, parameters, payload } = parsed;
  const bytes = new Uint8Array(40 + 8 * parameters.length + payload.length + 8);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(header.magic ?? "TRITGRAD"));
  view.setUint16(8, header.version ?? 1, true);
  view.setUint8(10, code);
  view.setUint8(11, parameters.length);
  view.setBigUint64(16, BigInt(count), true);
  view.setBigUint64(24, seed, true);
  view.setBigUint64(32, BigInt(payload.length), true);
  parameters.forEach((value, index) => view.setFloat64(40 + 8 * index, value, true));
  bytes.set(payload, 40 + 8 * parameters.length);
  view.setBigUint64(bytes.length - 8, xxh64(bytes.subarray(0, -8)), true);
  return bytes;
}

const floatsOf = (bytes: Uint8Array, count = bytes.length / 4) =>
  new Float32Array(bytes.slice(0, 4 * count).buffer);

/** Trits of a run that is packed five a byte. */
function unpack(bytes: Uint8Array, count: number): number[] {
  const trits = new Array<number>(count).fill(0);
  let [from, to] = [0, 0];
  for (const stride of [64, 16, 0]) {
    while (stride === 0 ? to < count : count - to >= 5 * stride) {
      const width = stride || Math.ceil((count - to) / 5);
      for (let j = 0; j < width; j++) {
        for (let plane = 0; plane < 5; plane++) {
          const place = to + plane * width + j;
          if (place < count) trits[place] = Math.floor(bytes[from + j]! / 3 ** plane) % 3 - 1;
        }
      }
      from += width;
      to += 5 * width;
    }
  }
  return trits;
}

export const LEVELS: Record<number, readonly number[]> = {
  2: [0.7978845608],
  3: [0, 1.2240063619],
  4: [0.452780035, 1.510417608],
  8: [0.245094179, 0.756005281, 1.343909279, 2.151945705],
  // deno-fmt-ignore
  16: [0.12839503, 0.388048299, 0.656759119, 0.942340456, 1.256231197, 1.618046386, 2.069017227,
    2.732589571],
};

const codeBytes = (size: number, levels: number) =>
  levels === 3 ? Math.ceil(size / 5) : size * Math.log2(levels) / 8;

/** The level of every rotated value. */
function levelsIn(bytes: Uint8Array, size: number, count: number): Float64Array {
  const levels = LEVELS[count]!;
  if (count === 3) return Float64Array.from(unpack(bytes, size), (trit) => trit * levels[1]!);
  const planes = Math.log2(count);
  return Float64Array.from({ length: size }, (_, i) => {
    const first = (i >> 4) * 2 * planes;
    const bit = (plane: number) => (bytes[first + 2 * plane + ((i >> 3) & 1)]! >> (i & 7)) & 1;
    let index = 0;
    for (let plane = 1; plane < planes; plane++) index = 2 * index + bit(plane);
    return bit(0) ? -levels[index]! : levels[index]!;
  });
}

/** The blocks of a rotated payload: levels, and the scale that goes with the transformed levels. */
export function rotatedBlocks(
  { count, parameters, payload }: Parsed,
): { block: Block; row: number; levels: Float64Array; scale: number }[] {
  const blocks = blocksOf(count, true);
  const scales = floatsOf(payload, blocks.length);
  let place = 4 * blocks.length;
  return blocks.map((block, row) => {
    const length = codeBytes(block.size, parameters[0]!);
    const levels = levelsIn(payload.subarray(place, place + length), block.size, parameters[0]!);
    place += length;
    return { block, row, levels, scale: scales[row]! / 2 ** Math.ceil(Math.log2(block.size) / 2) };
  });
}

/** The strata's places, and how many each stands for. */
function strata(n: number, k: number, seed: bigint): { place: number; size: number }[] {
  const drawn = words(k, 0, SAMPLES, seed);
  return Array.from({ length: k }, (_, i) => {
    const low = Math.floor(i * n / k);
    const size = Math.floor((i + 1) * n / k) - low;
    return { place: low + Number(BigInt(drawn[i]!) * BigInt(size) >> 32n), size };
  });
}

/** The entries of one row of a dense projection. */
function denseRow(row: number, k: number, seed: bigint): number[] {
  const share = Math.floor(0.16 * 2 ** 32);
  return words(k, row, DENSE, seed).slice(0, k)
    .map((word) => word < share ? 1 : word < 2 * share ? -1 : 0);
}

/** What gradients are projected to. */
export function sketch(
  gradients: Float32Array,
  k: number,
  seed: bigint,
  dense: boolean,
): Float64Array {
  const n = gradients.length;
  if (dense) {
    const sums = new Float64Array(k);
    gradients.forEach((gradient, row) =>
      denseRow(row, k, seed).forEach((entry, j) => sums[j]! += gradient * entry / Math.sqrt(n))
    );
    return sums;
  }
  const places = new Float64Array(n);
  for (const [row, block] of blocksOf(n, false).entries()) {
    places.set(
      rotate(gradients, block, row, seed).map((value) => value / Math.sqrt(block.size)),
      block.start,
    );
  }
  return Float64Array.from(strata(n, k, seed), ({ place }) => places[place]!);
}

function decodeSketch({ count, seed, parameters, payload }: Parsed): Float64Array {
  const [k, dense, contraction] = parameters as [number, number, number];
  const samples = floatsOf(payload);
  const out = new Float64Array(count);
  if (dense) {
    const gain = Math.sqrt(count) / (0.32 * k) * (contraction ? k / (count + k) : 1);
    return out.map((_, row) =>
      denseRow(row, k, seed).reduce((sum, entry, j) => sum + entry * samples[j]!, 0) * gain
    );
  }
  const places = new Float64Array(count);
  strata(count, k, seed).forEach(({ place, size }, i) =>
    places[place] = samples[i]! * (contraction ? 1 : size)
  );
  for (const [row, block] of blocksOf(count, false).entries()) {
    const values = places.slice(block.start, block.start + block.size);
    const back = rotateBack(values, block.count, row, seed);
    out.set(back.map((value) => value / Math.sqrt(block.size)), block.start);
  }
  return out;
}

function decodeBundle({ count, seed, parameters, payload }: Parsed): Float64Array {
  const dim = parameters[0]!;
  const members = Math.ceil(count / dim);
  const blocks = blocksOf(dim, true);
  const scales = floatsOf(payload, members * blocks.length);
  const out = new Float64Array(count);
  let place = 4 * scales.length;
  for (const [index, block] of blocks.entries()) {
    const trits = unpack(payload.subarray(place), block.size);
    place += Math.ceil(block.size / 5);
    for (let member = 0; member < members; member++) {
      const row = member * blocks.length + index;
      const start = member * dim + block.start;
      const length = Math.min(block.count, count - start);
      if (length <= 0) continue;
      const key = signs(block.size, row, KEYS, seed);
      const values = rotateBack(
        Float64Array.from(trits, (trit, i) => trit * key[i]!),
        length,
        row,
        seed,
      );
      const scale = scales[index * members + member]! /
        2 ** Math.ceil(Math.log2(block.size) / 2);
      out.set(values.map((value) => value * scale), start);
    }
  }
  return out;
}

function decodeMatrix({ count, parameters, payload }: Parsed): Float64Array {
  const [rows, rank] = parameters as [number, number];
  const [cols, thin] = [count / rows, floatsOf(payload)];
  return Float64Array.from({ length: count }, (_, index) => {
    const [row, col] = [Math.floor(index / cols), index % cols];
    let sum = 0;
    for (let k = 0; k < rank; k++) {
      sum += thin[k * rows + row]! * thin[rank * rows + k * cols + col]!;
    }
    return sum;
  });
}

/** What bytes stand for. */
export function decode(bytes: Uint8Array): Float64Array {
  const parsed = parse(bytes);
  const { code, count, seed, parameters, payload } = parsed;
  const block = parameters[0]!;
  switch (code) {
    case 1:
      return decodeSketch(parsed);
    case 2: {
      const scales = floatsOf(payload, Math.ceil(count / block));
      const packed = payload.subarray(4 * scales.length);
      return Float64Array.from(scales).reduce((out, scale, index) => {
        const start = index * block;
        const trits = unpack(packed.subarray(start / 5), Math.min(block, count - start));
        out.set(trits.map((trit) => trit * scale), start);
        return out;
      }, new Float64Array(count));
    }
    case 3: {
      const out = new Float64Array(count);
      for (const { block, row, levels, scale } of rotatedBlocks(parsed)) {
        const values = rotateBack(levels, block.count, row, seed);
        out.set(values.map((value) => value * scale), block.start);
      }
      return out;
    }
    case 6:
      return decodeMatrix(parsed);
    case 7: {
      const scales = floatsOf(payload, Math.ceil(count / block));
      return Float64Array.from({ length: count }, (_, i) => {
        const bit = (payload[4 * scales.length + (i >> 3)]! >> (i & 7)) & 1;
        return scales[Math.floor(i / block)]! * (bit ? -1 : 1);
      });
    }
    case 8:
      return decodeBundle(parsed);
  }
  throw new Error(`no reference for codec ${code}`);
}

/** Normally distributed numbers, the same for the same seed. */
export function gaussian(length: number, seed: number): Float32Array<ArrayBuffer> {
  const random = seeded(seed);
  return Float32Array.from({ length }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    return radius * Math.cos(2 * Math.PI * random());
  });
}

/** Like real gradients: far from normal, and of different size from place to place. */
export function heavyTailed(length: number, seed: number): Float32Array<ArrayBuffer> {
  const scales = gaussian(Math.ceil(length / 256), seed + 1);
  return gaussian(length, seed)
    .map((value, i) => value ** 3 * Math.exp(0.7 * scales[i >> 8]!) * 1e-3);
}

/** The Euclidean norm. */
export function norm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
  return Math.sqrt(sum);
}
