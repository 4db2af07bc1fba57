// Payloads of the codecs "entropy" and "topk" read by their definitions, one bit and one state at a time.

/** Bits, the lowest of each byte first. */
class Bits {
  place = 0;
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  take(count: number): number {
    let value = 0;
    for (let bit = 0; bit < count; bit++, this.place++) {
      const byte = this.bytes[this.place >> 3] ?? 0;
      value += ((byte >> (this.place & 7)) & 1) * 2 ** bit;
    }
    return value;
  }
}

class Bytes {
  place = 0;
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  take(count: number): Uint8Array {
    if (this.place + count > this.bytes.length) throw new Error("the payload is cut off");
    this.place += count;
    return this.bytes.subarray(this.place - count, this.place);
  }

  number(): number {
    let value = 0;
    for (let shift = 0;; shift += 7) {
      const byte = this.take(1)[0]!;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }

  word(): number {
    return new Bits(this.take(4)).take(32);
  }
}

const floatOf = (bits: number): number => new Float32Array(Uint32Array.of(bits).buffer)[0]!;
const LARGEST = floatOf(0x7f7fffff);
const ONE = 4096;

/** Frequencies of `count` symbols. */
function readFrequencies(bits: Bits, count: number): number[] {
  const present = Array.from({ length: count }, () => bits.take(1));
  const symbols = present.flatMap((is, symbol) => is ? [symbol] : []);
  const frequencies = new Array<number>(count).fill(0);
  if (symbols.length === 0) return frequencies;
  const commonest = symbols.length > 1 ? bits.take(4) : symbols[0]!;
  let rest = ONE;
  for (const symbol of symbols) {
    if (symbol === commonest) continue;
    frequencies[symbol] = Math.round(ONE * 2 ** (-bits.take(7) / 8));
    rest -= frequencies[symbol]!;
  }
  frequencies[commonest] = rest;
  return frequencies;
}

interface ClassOfBlocks {
  shift: number;
  /** [quantiser][level - 1], in steps. */
  offsets: number[][];
  tokens: number[][];
}

/** What an entropy payload begins with. */
export interface Model {
  steps: number;
  step: number;
  exponent: number;
  classes: ClassOfBlocks[];
  following: number[][];
  length: number;
}

export function readModel(payload: Uint8Array): Model {
  const bits = new Bits(payload);
  const steps = bits.take(2) + 1;
  const count = bits.take(4);
  const step = floatOf(bits.take(32));
  const exponent = bits.take(8) - 128;
  const classes = Array.from({ length: count }, () => ({
    shift: bits.take(4),
    offsets: [0, 1].map(() => [0, 1, 2].map(() => (bits.take(8) << 24 >> 24) / 64)),
    tokens: [0, 1].map(() => readFrequencies(bits, 16)),
  }));
  const following = Array.from({ length: count + 2 }, () => readFrequencies(bits, count + 2));
  return { steps, step, exponent, classes, following, length: Math.ceil(bits.place / 8) };
}

/** A state and the words it is fed with. */
class Ans {
  state: number;
  readonly next: () => number;

  constructor(state: number, next: () => number) {
    this.state = state;
    this.next = next;
  }

  take(frequencies: readonly number[]): number {
    const slot = this.state % ONE;
    let [symbol, cumulative] = [0, 0];
    while (cumulative + frequencies[symbol]! <= slot) cumulative += frequencies[symbol++]!;
    this.state = frequencies[symbol]! * Math.floor(this.state / ONE) + slot - cumulative;
    if (this.state < 2 ** 15) this.state = this.state * 2 ** 16 + this.next();
    return symbol;
  }
}

function wordsOf(bytes: Uint8Array): () => number {
  const bits = new Bits(bytes);
  return () => bits.take(16);
}

function readClasses(model: Model, bytes: Uint8Array, count: number): number[] {
  if (bytes.length === 0) return new Array<number>(count).fill(0);
  const ans = new Ans(new Bits(bytes).take(32), wordsOf(bytes.subarray(4)));
  let before = 0;
  return Array.from({ length: count }, () => before = ans.take(model.following[before]!));
}

/** The level of each lane of one step, from tokens and plain bits. */
function readLevels(tokens: readonly number[], shift: number, plain: Bits): number[] {
  const levels = tokens.map((token) => {
    if (token !== 15) return token;
    const length = plain.take(4);
    return 2 ** (length - 1) + plain.take(length - 1);
  });
  if (shift === 0) return levels;
  const low = new Array<number>(32).fill(0);
  for (let bit = 0; bit < shift; bit++) {
    for (let lane = 0; lane < 32; lane++) low[lane]! += plain.take(1) << bit;
  }
  return levels.map((level, lane) => (level << shift) + low[lane]!);
}

const CHUNK = 2 ** 19;

function decodeChunk(model: Model, input: Bytes, out: Float32Array): void {
  const size = 32 * model.steps;
  const [classBytes, words, bitBytes, keptBytes] = [0, 0, 0, 0].map(() => input.number()) as [
    number,
    number,
    number,
    number,
  ];
  const classes = readClasses(model, input.take(classBytes), Math.ceil(out.length / size));
  const states = [0, 1, 32][words % 4]!;
  const firsts = Array.from({ length: states }, () => input.word());
  const next = wordsOf(input.take(2 * Math.floor(words / 4)));
  const ans = firsts.map((state) => new Ans(state, next));
  const plain = new Bits(input.take(bitBytes));
  const kept = wordsOf(input.take(keptBytes));
  const unit = 2 ** -model.exponent;
  const bounded = (value: number) => Math.max(-LARGEST, Math.min(LARGEST, value));
  // Three bits of each lane.
  const trellis = Array.from({ length: 32 }, () => [0, 0, 0]);
  const write = (place: number, value: number) => {
    if (place < out.length) out[place] = bounded(value);
  };
  for (const [block, kind] of classes.entries()) {
    if (kind === 0) out.fill(0, block * size, (block + 1) * size);
    if (kind === 1) {
      for (let i = 0; i < size; i++) write(block * size + i, floatOf(next16(kept)) * unit);
    }
    if (kind < 2) continue;
    const { shift, offsets, tokens } = model.classes[kind - 2]!;
    for (let step = 0; step < model.steps; step++) {
      const quantizers = trellis.map(([s0]) => s0!);
      const read = quantizers.map((quantizer, lane) =>
        ans[states === 32 ? lane : 0]!.take(tokens[quantizer]!)
      );
      const levels = readLevels(read, shift, plain);
      for (const [lane, level] of levels.entries()) {
        const place = block * size + step * 32 + lane;
        const quantizer = quantizers[lane]!;
        let value = 0;
        if (level > 0) {
          const at = 2 * level - quantizer + offsets[quantizer]![Math.min(level, 3) - 1]!;
          value = Math.fround(Math.fround(at * model.step) * unit);
          if (plain.take(1) === 1) value = -value;
        }
        write(place, value);
        const [s0, s1, s2] = trellis[lane] as [number, number, number];
        trellis[lane] = [s0 ^ s1, s2 ^ (level & 1), s0];
      }
    }
  }
  if (ans.some(({ state }) => state !== 2 ** 15)) throw new Error("a state is wrong at the end");
}

const next16 = (next: () => number) => next() * 2 ** 16;

/** What an entropy payload stands for. */
export function decodeEntropy(payload: Uint8Array, count: number): Float32Array {
  const out = new Float32Array(count);
  if (payload[0] === 0xff) return out;
  const model = readModel(payload);
  const input = new Bytes(payload.subarray(model.length));
  for (let start = 0; start < count; start += CHUNK) {
    decodeChunk(model, input, out.subarray(start, start + CHUNK));
  }
  if (input.place !== input.bytes.length) throw new Error("the payload goes on");
  return out;
}

const PLACES_CHUNK = 2 ** 20;
const FEW = 4096;
const MEAN_ONE = 2 ** 20;
const MEAN_LEAST = 2 ** 8;

/** Of ones among 2^12, where a mean lies in this half of an octave. */
function onesFor(mean: number): number {
  const octave = Math.floor(Math.log2(mean));
  const middle = (mean >= 1.5 * 2 ** octave ? 7 : 5) * 2 ** octave / 4;
  return Math.min(Math.round(ONE * middle / MEAN_ONE), ONE - 128);
}

function readDistances(bytes: Uint8Array, kept: number, first: number): number[] {
  const stream = new Bits(bytes);
  let mean = 16 * Math.floor(MEAN_ONE / first);
  let place = 0;
  return Array.from({ length: kept }, () => {
    const shift = Math.floor(Math.log2(Math.max(1, mean >> 4)));
    let ones = 0;
    while (ones < 24 && stream.take(1) === 1) ones++;
    const distance = ones < 24 ? ones * 2 ** shift + stream.take(shift) : stream.take(20);
    mean = Math.max(16, mean - (mean >> 4) + distance);
    place += distance;
    return place++;
  });
}

function readPlaces(input: Bytes, words: number, count: number, first: number): number[] {
  const states = Array.from({ length: 32 }, () => input.word());
  const next = wordsOf(input.take(2 * words));
  const ans = states.map((state) => new Ans(state, next));
  const means = states.map(() => first);
  const run = 64 * Math.ceil(Math.ceil(count / 64) / 32);
  const places: number[] = [];
  for (let nibble = 0; nibble < run; nibble += 4) {
    const kept = means.map(() => 0);
    const ones = means.map(onesFor);
    for (let bit = 0; bit < 4; bit++) {
      for (const [lane, state] of ans.entries()) {
        // Ones come first.
        if (state.take([ones[lane]!, ONE - ones[lane]!]) === 1) continue;
        kept[lane]!++;
        places.push(lane * run + nibble + bit);
      }
    }
    for (const [lane, mean] of means.entries()) {
      means[lane] = Math.max(MEAN_LEAST, mean - (mean >> 5) + kept[lane]! * 2 ** 13);
    }
  }
  if (ans.some(({ state }) => state !== 2 ** 15)) throw new Error("a state is wrong at the end");
  return places.sort((a, b) => a - b);
}

/** The places and values of a topk payload. */
export function decodeTopk(payload: Uint8Array, bits: number, count: number): Float32Array {
  const out = new Float32Array(count);
  const input = new Bytes(payload);
  const least = input.word();
  const mean = input.word();
  for (let first = 0; first < count; first += PLACES_CHUNK) {
    const kept = input.number();
    if (kept === 0) continue;
    const range = input.word();
    const length = input.number();
    const places = kept < FEW
      ? readDistances(input.take(length), kept, mean)
      : readPlaces(input, length, Math.min(PLACES_CHUNK, count - first), mean);
    const codes = new Bits(input.take(Math.ceil(kept * bits / 8)));
    for (const place of places) {
      const sign = codes.take(1) === 1 ? -1 : 1;
      const level = codes.take(bits - 1);
      const middle = least + Math.floor((2 * level + 1) * range / 2 ** bits);
      out[first + place] = sign * floatOf(Math.min(middle, 0x7f7fffff));
    }
  }
  if (input.place !== input.bytes.length) throw new Error("the payload goes on");
  return out;
}
