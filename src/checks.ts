/**
 * Checks of arguments, done before every native call: both runtimes stop checking ranges once a call is hot.
 *
 * Each returns the checked value or throws through {@linkcode tritterError}.
 *
 * @module
 */
import { tritterError } from "./errors.ts";

/** The typed arrays that the library takes. */
export type CheckedArrayConstructor =
  | Float32ArrayConstructor
  | Float64ArrayConstructor
  | Int8ArrayConstructor
  | Uint8ArrayConstructor
  | Int16ArrayConstructor
  | Uint16ArrayConstructor
  | Int32ArrayConstructor
  | Uint32ArrayConstructor
  | BigUint64ArrayConstructor;

const U32_MAX = 2 ** 32 - 1;

const typedArrayPrototype: object = Object.getPrototypeOf(Float32Array.prototype);

/** The length that the engine knows; a subclass cannot lie about it. */
const engineLength = Object.getOwnPropertyDescriptor(typedArrayPrototype, "length")!.get as (
  this: unknown,
) => number;

/**
 * Whether the length of an array is the engine's. That it is right once proves nothing: a getter could
 * tell the truth now and lie to the call that follows.
 */
function hasPlainLength(value: object, type: CheckedArrayConstructor): boolean {
  for (let at: object | null = value; at !== typedArrayPrototype; at = Object.getPrototypeOf(at)) {
    if (at === null || Object.hasOwn(at, "length")) return false;
    if (at === type.prototype) return true;
  }
  return true;
}

/** Names a value in a message: short, and never longer than a line. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 64));
  if (typeof value === "bigint") return `${value}n`.slice(0, 64);
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  return ArrayBuffer.isView(value) ? tag : tag === "Object" ? "an object" : `an object (${tag})`;
}

function articleOf(name: string): "a" | "an" {
  return name.startsWith("I") ? "an" : "a";
}

/** Checks that a value is a typed array of one type, and of one length where a length is given. */
export function checkArray<C extends CheckedArrayConstructor>(
  value: unknown,
  type: C,
  name: string,
  length?: number,
): C["prototype"] {
  // Only a real array is a view: an object that inherits from its prototype, or a proxy, is not.
  if (!(value instanceof type) || !ArrayBuffer.isView(value)) {
    throw tritterError(
      "invalid_type",
      `${name} must be ${articleOf(type.name)} ${type.name}, got ${describe(value)}`,
    );
  }
  const actual = engineLength.call(value);
  if (!hasPlainLength(value, type)) {
    throw tritterError(
      "invalid_type",
      `${name} must be ${articleOf(type.name)} ${type.name} that reports its own length`,
    );
  }
  // A detached buffer looks like an empty one; only then is the (slower) question worth asking.
  if (actual === 0 && (value.buffer as ArrayBuffer).detached) {
    throw tritterError("invalid_value", `${name} must not be detached`);
  }
  if (actual > U32_MAX) {
    throw tritterError(
      "invalid_length",
      `${name} must have at most ${U32_MAX} elements, got ${actual}`,
    );
  }
  if (length !== undefined && actual !== length) {
    throw tritterError("invalid_length", `${name} must have ${length} elements, got ${actual}`);
  }
  return value;
}

/** Checks that a value is an integer within a range; the default range is that of a u32. */
export function checkCount(
  value: unknown,
  name: string,
  { min = 0, max = U32_MAX }: { min?: number; max?: number } = {},
): number {
  if (typeof value !== "number") {
    throw tritterError("invalid_type", `${name} must be a number, got ${describe(value)}`);
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw tritterError(
      "invalid_value",
      `${name} must be an integer from ${min} to ${max}, got ${value}`,
    );
  }
  // Deno passes -0 to no native function.
  return value + 0;
}

/** Checks that a value is a finite number within a range. */
export function checkNumber(
  value: unknown,
  name: string,
  { min = -Infinity, max = Infinity }: { min?: number; max?: number } = {},
): number {
  if (typeof value !== "number") {
    throw tritterError("invalid_type", `${name} must be a number, got ${describe(value)}`);
  }
  if (!Number.isFinite(value)) {
    throw tritterError("invalid_value", `${name} must be a finite number, got ${value}`);
  }
  if (value < min || value > max) {
    const range = max === Infinity
      ? `at least ${min}`
      : min === -Infinity
      ? `at most ${max}`
      : `from ${min} to ${max}`;
    throw tritterError("invalid_value", `${name} must be ${range}, got ${value}`);
  }
  return value;
}

/** Checks that an array holds neither NaN nor an infinity. */
export function checkFinite(values: Float32Array, name: string): void {
  // Zero times a finite number is zero; a sum is several times as fast as a question for each.
  let zero = 0;
  for (let index = 0; index < values.length; index++) zero += values[index]! * 0;
  if (zero === 0) return;
  for (let index = 0; index < values.length; index++) {
    if (!Number.isFinite(values[index])) {
      throw tritterError("invalid_value", `${name}[${index}] must be finite, got ${values[index]}`);
    }
  }
}

/** Checks that a value is a list of positive integers whose product fits a u32; returns a copy. */
export function checkShape(value: unknown, name: string, rank: number): readonly number[] {
  if (!Array.isArray(value)) {
    throw tritterError(
      "invalid_type",
      `${name} must be an array of ${rank} positive integers, got ${describe(value)}`,
    );
  }
  if (value.length !== rank) {
    throw tritterError(
      "invalid_shape",
      `${name} must have ${rank} dimensions, got ${value.length}`,
    );
  }
  const shape: number[] = [];
  let product = 1;
  for (let axis = 0; axis < rank; axis += 1) {
    const size: unknown = value[axis];
    if (typeof size !== "number") {
      throw tritterError(
        "invalid_type",
        `${name}[${axis}] must be a number, got ${describe(size)}`,
      );
    }
    if (!Number.isInteger(size) || size < 1 || size > U32_MAX) {
      throw tritterError(
        "invalid_shape",
        `${name}[${axis}] must be a positive integer, got ${size}`,
      );
    }
    shape.push(size);
    product *= size;
  }
  if (product > U32_MAX) {
    throw tritterError(
      "invalid_shape",
      `${name} must describe fewer than 2^32 elements, got [${shape.join(", ")}]`,
    );
  }
  return shape;
}

/** Checks that a value is one of a few; `undefined` means the fallback. */
export function checkChoice<T>(
  value: unknown,
  choices: readonly T[],
  name: string,
  fallback: T,
): T {
  if (value === undefined) return fallback;
  if (!choices.includes(value as T)) {
    const allowed = choices.map((choice) => describe(choice)).join(", ");
    throw tritterError(
      "invalid_option",
      `${name} must be one of ${allowed}, got ${describe(value)}`,
    );
  }
  return value as T;
}

/** Checks that a value is true or false. */
export function checkFlag(value: unknown, name: string): boolean {
  if (typeof value === "boolean") return value;
  throw tritterError("invalid_type", `${name} must be true or false, got ${describe(value)}`);
}

/** Checks that a value is an array; its elements are the caller's to check. */
export function checkList<T>(value: readonly T[], name: string): readonly T[] {
  if (Array.isArray(value)) return value;
  throw tritterError("invalid_type", `${name} must be an array, got ${describe(value)}`);
}

/** Checks that a value is an object, and not null. */
export function checkObject<T extends object>(value: T, name: string): T {
  if (typeof value === "object" && value !== null) return value;
  throw tritterError("invalid_type", `${name} must be an object, got ${describe(value)}`);
}

/** Checks the shape of a batch of texts. */
export function checkTexts(
  shape: readonly [batch: number, length: number],
  max: number,
): readonly [batch: number, length: number] {
  if (!Array.isArray(shape) || shape.length !== 2) {
    throw tritterError("invalid_type", `shape must be [batch, length], got ${describe(shape)}`);
  }
  const batch = checkCount(shape[0], "shape[0]", { min: 1 });
  return [batch, checkCount(shape[1], "shape[1]", { min: 1, max })];
}

/** Checks that a value is an options object; `undefined` means an empty one. */
export function checkOptions<T extends object>(value: T | undefined, name: string): T {
  if (value === undefined) return {} as T;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw tritterError("invalid_type", `${name} must be an object, got ${describe(value)}`);
  }
  return value;
}
