/**
 * The errors of this library: one stable `code` each, and the closest built-in class as parent.
 *
 * @module
 */

/** The stable, machine-readable name of what went wrong. */
export type TritterErrorCode =
  | "invalid_type"
  | "invalid_shape"
  | "invalid_length"
  | "invalid_value"
  | "invalid_option"
  | "disposed"
  | "out_of_memory"
  | "io"
  | "invalid_format"
  | "unsupported"
  | "device_unavailable"
  | "cache_full"
  | "timeout"
  | "library_unavailable"
  | "internal";

/**
 * What every error of this library has in common; `instanceof TritterError` is true for all of them.
 *
 * A wrong type is also a `TypeError`, a wrong shape, length, value or option also a `RangeError`.
 *
 * @example
 * ```ts
 * import { setThreads, TritterError } from "tritter-accel";
 *
 * try {
 *   setThreads(-1);
 * } catch (error) {
 *   if (error instanceof TritterError) console.log(error.code, error.message);
 * }
 * ```
 */
export abstract class TritterError extends Error {
  /** The stable name of what went wrong. */
  abstract readonly code: TritterErrorCode;

  /** The concrete classes inherit from built-in errors, so membership is decided here. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof TritterTypeError || value instanceof TritterRangeError ||
      value instanceof TritterRuntimeError;
  }
}

/** A value of the wrong type. */
export class TritterTypeError extends TypeError {
  /** The name of the class. */
  override readonly name = "TritterTypeError";
  /** The stable name of what went wrong. */
  readonly code: TritterErrorCode;

  /** Builds the error from its code and message. */
  constructor(code: TritterErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A shape, length, value or option outside what is allowed, or a cache that is full. */
export class TritterRangeError extends RangeError {
  /** The name of the class. */
  override readonly name = "TritterRangeError";
  /** The stable name of what went wrong. */
  readonly code: TritterErrorCode;

  /** Builds the error from its code and message. */
  constructor(code: TritterErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A failure that the arguments alone do not explain: input and output, memory, devices, formats. */
export class TritterRuntimeError extends Error {
  /** The name of the class. */
  override readonly name = "TritterRuntimeError";
  /** The stable name of what went wrong. */
  readonly code: TritterErrorCode;

  /** Builds the error from its code and message. */
  constructor(code: TritterErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Builds the error class that fits the code; the caller throws it. */
export function tritterError(
  code: TritterErrorCode,
  message: string,
  options?: ErrorOptions,
): TritterTypeError | TritterRangeError | TritterRuntimeError {
  switch (code) {
    case "invalid_type":
      return new TritterTypeError(code, message, options);
    case "invalid_shape":
    case "invalid_length":
    case "invalid_value":
    case "invalid_option":
    case "cache_full":
      return new TritterRangeError(code, message, options);
    default:
      return new TritterRuntimeError(code, message, options);
  }
}
