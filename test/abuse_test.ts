/** Thousands of malformed calls: every one must return or throw a proper error, none may hurt the process. */
import assert from "node:assert/strict";
import process from "node:process";
import { after, describe, it } from "node:test";
import * as api from "../mod.ts";
import { native } from "../src/native/library.ts";
import { type NativeLibrary, symbols } from "../src/native/symbols.ts";
import { floats, INSTANCES, model, modelFolder, trits, VALID } from "./abuse_cases.ts";
import { DISTRIBUTED_CONSTRUCTED } from "./abuse_distributed.ts";
import { LAYERS } from "./abuse_layers.ts";
import { TRAINERS } from "./abuse_trainer.ts";
import { TRAINING } from "./abuse_training.ts";
import { GRADIENTS_CONSTRUCTED } from "./abuse_gradients.ts";
import { CONSTRUCTED } from "./abuse_vsa.ts";
import { garbage, Random, spoil } from "./abuse_values.ts";

const SEED = 20260101;
const CALLS_PER_FUNCTION = 200;
const SECONDS_PER_CALL = 10;
const timeout = 600_000;

type Callable = (...args: unknown[]) => unknown;
type Instance = Record<string | symbol, unknown>;

const threads = api.getThreads();
const isa = api.info().isa;

after(() => {
  model[Symbol.dispose]();
  api.setThreads(threads);
  api.setIsa(isa);
});

/** Made with `new` by anybody; all other classes are made by functions and methods only. */
const CONSTRUCTIBLE = [
  ...["Tensor", "TernaryLayer", "InferenceEngine", "KVCache"],
  ...Object.keys(CONSTRUCTED),
  ...Object.keys(TRAINING),
  ...Object.keys(LAYERS),
  ...Object.keys(GRADIENTS_CONSTRUCTED),
  ...Object.keys(TRAINERS),
  ...Object.keys(DISTRIBUTED_CONSTRUCTED),
];

/** Made with `new` as well; built-in errors decide what they do with their arguments. */
const ERRORS = ["TritterTypeError", "TritterRangeError", "TritterRuntimeError"];

/** Abstract: it has no instances of its own. */
const ABSTRACT = ["TritterError"];

/** Without a GPU it has no instances. */
const ABSENT = api.cudaAvailable() ? [] : ["CudaTransformer"];

/** Methods for subclasses of this library; what they are given has been checked. */
const PROTECTED = [
  ...["rowOf", "valueOf", "allocate", "target", "put", "take", "cosine", "multiplicity"],
  ...["fill", "fillRandom", "fillTrits", "fillFormat", "fillFloats", "fillPart"],
];

/** Whether a method is one of these, and not a public one of the same name. */
const isProtected = (name: string, method: string) =>
  PROTECTED.includes(method) && !(`${name}#${method}` in VALID);

/** Functions and classes by their names; those of an object, such as `Trit`, by both names. */
const exported = Object.entries(api).flatMap(([name, value]) =>
  typeof value === "function"
    ? [[name, value]]
    : Object.entries(value).map(([key, part]) => [`${name}.${key}`, part])
) as [string, Callable][];
const isClass = (value: Callable) => /^class\b/.test(Function.prototype.toString.call(value));
/** Would write wherever garbage leads them; export_test.ts and formats_writer_test.ts abuse them. */
const WRITERS = ["exportModel", "writeSafetensors"];
const functions = exported.filter(([name, value]) => !isClass(value) && !WRITERS.includes(name));
const classes = exported.filter(([, value]) => isClass(value));

function describeArgument(value: unknown): string {
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength} bytes)`;
  if (typeof value === "object" && value !== null) return Object.prototype.toString.call(value);
  return String(value).slice(0, 40);
}

/** Follows what a call gave to its end: promises, a few items of an iterator, disposal. */
async function settle(value: unknown): Promise<void> {
  const result = await value as Instance | undefined;
  if (typeof result !== "object" || result === null || result === model as unknown) return;
  if (Symbol.asyncIterator in result) {
    const iterator = (result as unknown as AsyncIterable<unknown>)[Symbol.asyncIterator]();
    for (let left = 3; left > 0; left -= 1) {
      if ((await iterator.next()).done) break;
    }
    await iterator.return?.();
  }
  if (Symbol.dispose in result) (result[Symbol.dispose] as Callable).call(result);
}

/** Makes one call and checks that it ends well, or in an error that a caller can expect. */
async function tryCall(
  name: string,
  args: unknown[],
  call: () => unknown,
  isExpected: (error: unknown) => boolean = isClean,
): Promise<void> {
  const started = performance.now();
  const text = () => `${name}(${args.map(describeArgument).join(", ")})`;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("it does not end")), SECONDS_PER_CALL * 1000);
  });
  try {
    // A function of this test is called within, so that what it throws at once is caught as well.
    await Promise.race([(async () => await settle(call()))(), late]);
  } catch (error) {
    assert.ok(isExpected(error), `${text()} gave ${error instanceof Error ? error.stack : error}`);
  } finally {
    clearTimeout(timer);
  }
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds < SECONDS_PER_CALL, `${text()} took ${seconds.toFixed(1)} s`);
}

/** Whether an error is this library's, or one of those that `garbage` throws from within. */
function isClean(error: unknown): boolean {
  return error instanceof api.TritterError ||
    error instanceof TypeError && error.message.includes("by the caller");
}

/** The same of a method that checks nothing, or of one called on what has no private fields. */
function isCleanOrTypeError(error: unknown): boolean {
  return isClean(error) || error instanceof TypeError;
}

/** Whether an error is one of those that built-in errors throw for their arguments. */
function isBuiltIn(error: unknown): boolean {
  return isClean(error) || error instanceof TypeError || error instanceof RangeError;
}

/** Constructs, and checks that the result is whole; runtimes know no private constructors. */
function tryConstruct(name: string, type: Callable, args: unknown[]): void {
  const text = `new ${name}(${args.map(describeArgument).join(", ")})`;
  const construct = type as unknown as new (...args: unknown[]) => Instance;
  try {
    const made = new construct(...args);
    assert.ok(CONSTRUCTIBLE.includes(name), `${text} makes what it must not`);
    const getters = Object.entries(Object.getOwnPropertyDescriptors(type.prototype))
      .filter(([, { get }]) => get);
    for (const [key] of getters) assert.notEqual(made[key], undefined, `${text}.${key}`);
    (made[Symbol.dispose] as Callable | undefined)?.call(made);
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    assert.ok(isClean(error), `${text} gave ${error instanceof Error ? error.stack : error}`);
    if (CONSTRUCTIBLE.includes(name)) return;
    assert.match((error as Error).message, new RegExp(`^${name} is made by `), text);
  }
}

/** Methods of an instance or static ones, without what every function or object has. */
function methodsOf(owner: object, ignored: readonly string[]): string[] {
  return Object.getOwnPropertyNames(owner)
    .filter((key) => !ignored.includes(key))
    .filter((key) => typeof Object.getOwnPropertyDescriptor(owner, key)!.value === "function");
}

describe("malformed calls of the public face", { timeout }, () => {
  const memoryBefore = process.memoryUsage().rss;

  it("reach every export", () => {
    assert.ok(functions.length >= 15 && classes.length >= 10);
    const untested = classes.map(([name]) => name)
      .filter((name) => !(name in INSTANCES) && ![...ABSTRACT, ...ABSENT].includes(name));
    assert.deepEqual(untested, []);
  });

  it("start from calls that are right", async () => {
    for (const [name, args] of Object.entries(VALID)) {
      const [owner, method] = name.split(/[.#]/) as [keyof typeof api, string?];
      if (ABSENT.includes(owner)) continue;
      const target = api[owner] as unknown as Instance & (new (...args: unknown[]) => unknown);
      if (!method) {
        await settle(
          isClass(target as never)
            ? new target(...args())
            : (target as unknown as Callable)(...args()),
        );
      } else {
        const receiver = (name.includes("#") ? INSTANCES[owner]!() : target) as Instance;
        await settle((receiver[method] as Callable)(...args()));
      }
    }
  });

  for (const [name, call] of functions) {
    it(`${name}() survives them`, async () => {
      const random = new Random(SEED);
      for (let left = CALLS_PER_FUNCTION; left > 0; left -= 1) {
        const args = spoil(random, VALID[name]?.() ?? []);
        await tryCall(name, args, () => call(...args));
      }
    });
  }

  for (const [name, type] of classes) {
    it(`${name} survives them`, async () => {
      const random = new Random(SEED);
      const construct = type as unknown as new (...args: unknown[]) => unknown;
      const hasOwnChecks = ![...ERRORS, ...ABSTRACT].includes(name);
      for (let left = CALLS_PER_FUNCTION; left > 0; left -= 1) {
        const args = spoil(random, VALID[name]?.() ?? []);
        if (hasOwnChecks) tryConstruct(name, type, args);
        else await tryCall(`new ${name}`, args, () => new construct(...args), isBuiltIn);
      }
      for (const method of methodsOf(type, ["prototype", "length", "name"])) {
        const known = VALID[`${name}.${method}`];
        for (let left = CALLS_PER_FUNCTION; left > 0; left -= 1) {
          const args = spoil(random, known?.() ?? []);
          const owner = type as unknown as Instance;
          await tryCall(`${name}.${method}`, args, () => (owner[method] as Callable)(...args));
        }
      }
      if ([...ABSTRACT, ...ABSENT].includes(name)) return;
      for (const method of methodsOf(type.prototype, ["constructor"])) {
        const known = VALID[`${name}#${method}`];
        for (let left = CALLS_PER_FUNCTION; left > 0; left -= 1) {
          const instance = INSTANCES[name]!() as Instance;
          const args = spoil(random, known?.() ?? []);
          const receiver = random.integer(10) === 0 ? garbage(random) : instance;
          await tryCall(
            `${name}#${method}`,
            args,
            () => Reflect.apply(instance[method] as Callable, receiver, args),
            receiver === instance && !isProtected(name, method) ? isClean : isCleanOrTypeError,
          );
        }
      }
    });
  }

  const disposable = classes.filter(([name, type]) =>
    Symbol.dispose in type.prototype && !ABSENT.includes(name)
  );
  for (const [name] of disposable) {
    it(`${name} refuses work after it was disposed`, async () => {
      // The model that the other cases share must live on.
      const instance = (name === "TernaryModel"
        ? await api.loadModel(modelFolder)
        : INSTANCES[name]!()) as Instance;
      const prototype = Object.getPrototypeOf(instance) as object;
      (instance[Symbol.dispose] as Callable)();
      (instance[Symbol.dispose] as Callable)();
      for (const method of methodsOf(prototype, ["constructor"])) {
        const args = VALID[`${name}#${method}`]?.() ?? [];
        await tryCall(
          `disposed ${name}#${method}`,
          args,
          () =>
            (instance[method] as Callable)(...args),
          isProtected(name, method) ? isCleanOrTypeError : isClean,
        );
      }
      const getters = Object.entries(Object.getOwnPropertyDescriptors(prototype))
        .filter(([, { get }]) => get).map(([key]) => key);
      for (const key of getters) await tryCall(`disposed ${name}.${key}`, [], () => instance[key]);
    });
  }

  it("leave the process at a sensible size", () => {
    const grown = process.memoryUsage().rss - memoryBefore;
    assert.ok(grown < 2 ** 31, `memory grew by ${(grown / 2 ** 20).toFixed(0)} MiB`);
  });
});

type NativeCall = (...args: unknown[]) => number;
const nativeNames = Object.keys(symbols) as (keyof NativeLibrary)[];
const parametersOf = (name: keyof NativeLibrary) =>
  Object.entries(symbols[name]) as [string, string][];
const nativeCall = (name: keyof NativeLibrary) => native[name] as unknown as NativeCall;

const NATIVE_ARRAYS = {
  i8: Int8Array,
  u8: Uint8Array,
  u16: Uint16Array,
  i32: Int32Array,
  u32: Uint32Array,
  u64: BigUint64Array,
  f32: Float32Array,
  f64: Float64Array,
} as const;

const isBuffer = (type: string) => type.includes(":");
const zeroOf = (type: string) => isBuffer(type) ? null : type === "u64" ? 0n : 0;

/** A status of the list in the contract: zero, or the number of an error. -99 would be a mistake of ours. */
function assertStatus(status: unknown, text: string): void {
  assert.ok(
    Number.isInteger(status) && Number(status) <= 0 && Number(status) >= -14,
    `${text}: ${status}`,
  );
}

/** A buffer with a length that it really has, or less; the library cannot notice a length beyond the end. */
function nativeArguments(name: keyof NativeLibrary, random: Random): unknown[] {
  const CAPACITY = 4096;
  return parametersOf(name).map(([parameter, type]) => {
    if (isBuffer(type)) {
      const array = new NATIVE_ARRAYS[type.slice(2) as keyof typeof NATIVE_ARRAYS](CAPACITY);
      const numbers = [0, 1, -1, 2, 3, 4, 8, 0.5, 16];
      // What a function takes as lengths inside of its options must fit the buffers, as above.
      for (let at = 0; at < 16; at += 1) {
        const value = random.pick(
          array instanceof Float32Array ? [...numbers, NaN, Infinity] : numbers,
        );
        array[at] = array instanceof BigUint64Array
          ? BigInt.asUintN(64, BigInt(Math.trunc(value)))
          : value;
      }
      return random.integer(10) === 0 && `${parameter}_length` in symbols[name] ? null : array;
    }
    if (type === "i32") return random.pick([0, 1, -1, 2, 8, 2 ** 31 - 1, -(2 ** 31)]);
    if (type === "u64") return random.pick([0n, 1n, 2n, 2n ** 63n, 2n ** 64n - 1n]);
    if (type.startsWith("f")) return random.pick([0, 1e-5, -1, NaN, Infinity]);
    if (parameter.endsWith("_length")) return random.pick([0, 1, 2, 3, 4, 8, 9, 12, 16, 64, 4096]);
    return random.pick([0, 1, 2, 3, 4, 8, 16, 2 ** 16, 2 ** 31, 2 ** 32 - 1]);
  });
}

/** Frees what a call that succeeded by chance has made. */
function freeResults(name: keyof NativeLibrary, args: unknown[]): void {
  parametersOf(name).forEach(([parameter, type], at) => {
    if (parameter === "handle" && type === "w:u64") native.free((args[at] as BigUint64Array)[0]!);
  });
}

describe("malformed calls of the native functions", { timeout }, () => {
  for (const name of nativeNames) {
    it(`${name} refuses null buffers, zeros and stale handles`, () => {
      const zeros = parametersOf(name).map(([, type]) => zeroOf(type));
      assert.ok(nativeCall(name)(...zeros) < 0, `${name} accepts nothing but zeros`);
      parametersOf(name).forEach(([parameter], at) => {
        if (!(`${parameter}_length` in symbols[name])) return;
        const args: unknown[] = [...zeros];
        args[at + 1] = 5;
        assert.ok(nativeCall(name)(...args) < 0, `${name} accepts no ${parameter} of length 5`);
      });
    });

    it(`${name} survives random arguments`, () => {
      const random = new Random(SEED);
      for (let left = 200; left > 0; left -= 1) {
        const args = nativeArguments(name, random);
        const status = nativeCall(name)(...args);
        assertStatus(status, `${name}(${args.map(describeArgument).join(", ")})`);
        if (status === 0) freeResults(name, args);
      }
      native.set_threads(threads);
    });
  }

  it("a handle is refused after it was freed, and where another kind is expected", () => {
    const made = new BigUint64Array(1);
    assert.equal(native.weights_from_ternary(trits(64), 64, floats(4), 4, 4, 16, made, 1), 0);
    const handle = made[0]!;
    const out = new BigUint64Array(8);
    const DISPOSED = -6;
    assert.equal(native.weights_info(handle, out, 8), 0);
    assert.equal(native.cache_info(handle, out, 8), DISPOSED);
    assert.equal(native.model_info(handle, out, 8), DISPOSED);
    assert.equal(native.file_read(handle, 0n, new Uint8Array(1), 1), DISPOSED);
    assert.equal(native.free(handle), 0);
    assert.equal(native.free(handle), DISPOSED);
    assert.equal(native.weights_info(handle, out, 8), DISPOSED);
    assert.equal(native.weights_info(handle ^ (1n << 40n), out, 8), DISPOSED);
  });
});
