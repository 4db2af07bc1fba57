/** Values that no caller should pass, drawn at random but the same for the same seed. */

/** A small generator of random numbers (mulberry32): repeatable, unlike Math.random. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** A number from 0 up to 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  /** An integer from 0 up to the limit, without it. */
  integer(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** One of a list. */
  pick<T>(list: readonly T[]): T {
    return list[this.integer(list.length)]!;
  }
}

const ARRAYS = [
  Float32Array,
  Float64Array,
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
] as const;

const NUMBERS: readonly number[] = [
  0,
  -0,
  1,
  -1,
  2,
  3,
  8,
  0.5,
  NaN,
  Infinity,
  -Infinity,
  // One more than a hypervector can have dimensions: as many are legal, and minutes of work.
  2 ** 31 + 1,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  -(2 ** 31),
  1e-45,
  1e308,
];

const STRINGS: readonly string[] = [
  "",
  "cpu",
  "cuda",
  "cuda:99",
  "int8",
  "f32",
  "slide",
  "no/such/folder",
  "\0",
  "\ud800",
  "é".repeat(1000),
  "__proto__",
];

class LyingArray extends Float32Array {
  override get length(): number {
    return 1 << 20;
  }
}

/** An array of a type that tells its length truly so many times, and then lies. */
function laterLyingArray(type: Float32ArrayConstructor, truths: number): Float32Array {
  const array = new type(4);
  let asked = 0;
  Object.defineProperty(array, "length", { get: () => asked++ < truths ? 4 : 1 << 20 });
  return array;
}

function typedArray(random: Random): unknown {
  // Any of them will do here, and one type makes the calls below simple.
  const type = random.pick(ARRAYS) as Float32ArrayConstructor;
  const length = random.pick([0, 1, 2, 3, 4, 7, 16, 33]);
  switch (random.integer(6)) {
    case 0: {
      const detached = new type(length);
      structuredClone(detached.buffer, { transfer: [detached.buffer] });
      return detached;
    }
    case 1:
      return new type(new SharedArrayBuffer(length * type.BYTES_PER_ELEMENT));
    case 2: {
      const buffer = new ArrayBuffer(64, { maxByteLength: 128 });
      const array = new type(buffer);
      if (random.integer(2) === 0) buffer.resize(8);
      return array;
    }
    case 3:
      return new type(length + 1).subarray(1);
    default:
      return new type(length).map(() => random.pick(NUMBERS));
  }
}

function shape(random: Random): unknown[] {
  const size = () => random.pick<unknown>([...NUMBERS, 4, 4, 16, 16, "4", null, 4n]);
  return Array.from({ length: random.integer(4) }, size);
}

function oddObject(random: Random): unknown {
  const makers: readonly (() => unknown)[] = [
    () => ({}),
    () => Object.create(null),
    () => new Date(NaN),
    () => new Map([["rows", 4]]),
    () => Object.create(Float32Array.prototype),
    () => new Proxy(new Float32Array(4), {}),
    () => new LyingArray(4),
    () => laterLyingArray(random.pick(ARRAYS) as Float32ArrayConstructor, random.integer(6)),
    () => new DataView(new ArrayBuffer(16)),
    () => new ArrayBuffer(16),
    () => new BigUint64Array(4),
    () => ({ length: 2 ** 32, 0: 1 }),
    () => ({ valueOf: () => 4 }),
    () => new Array(1000),
    () => Promise.resolve(4),
    () => new URL("file:///no/such/folder/"),
    () => new URL("https://localhost/model"),
    () => ({
      get shape(): never {
        throw new TypeError("thrown by the caller's getter");
      },
    }),
    () => () => 4,
    () => () => {
      throw new TypeError("thrown by the caller's function");
    },
    () => AbortSignal.abort(new TypeError("stopped by the caller")),
  ];
  return random.pick(makers)();
}

/** One value of any kind. */
export function garbage(random: Random): unknown {
  switch (random.integer(8)) {
    case 0:
      return random.pick([undefined, null, true, false, 1n, -1n, 2n ** 70n, Symbol("odd")]);
    case 1:
      return random.pick(STRINGS);
    case 2:
    case 3:
      return random.pick(NUMBERS);
    case 4:
      return shape(random);
    case 5:
      return oddObject(random);
    default:
      return typedArray(random);
  }
}

function isPlain(value: unknown): value is Record<string, unknown> | unknown[] {
  return Array.isArray(value) ||
    typeof value === "object" && value !== null &&
      Object.getPrototypeOf(value) === Object.prototype;
}

/** Replaces one or two arguments, or a part of one, by garbage; sometimes all of them. */
export function spoil(random: Random, args: readonly unknown[]): unknown[] {
  if (args.length === 0 || random.integer(4) === 0) {
    return Array.from({ length: random.integer(6) }, () => garbage(random));
  }
  const spoiled = [...args];
  for (let left = 1 + random.integer(2); left > 0; left -= 1) {
    const at = random.integer(spoiled.length);
    const value = spoiled[at];
    const isUntouched = value === args[at];
    if (isUntouched && isPlain(value) && Object.keys(value).length > 0 && random.integer(2) === 0) {
      const copy = Array.isArray(value) ? [...value] : { ...value };
      Reflect.set(copy, random.pick(Object.keys(copy)), garbage(random));
      spoiled[at] = copy;
    } else {
      spoiled[at] = garbage(random);
    }
  }
  if (random.integer(8) === 0) spoiled.pop();
  return spoiled;
}
