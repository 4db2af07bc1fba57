// Compressing gradients and getting them back: what all codecs share.

import { checkArray, checkCount, checkObject, checkOptions } from "../checks.ts";
import { type Place, placeOf } from "../device.ts";
import { tritterError } from "../errors.ts";
import { Tensor } from "../tensor.ts";
import { checkSeed } from "../vsa/options.ts";
import {
  containerBytes,
  COUNT_MAX,
  type Message,
  payloadOf,
  refuse,
  roomFor,
  seal,
} from "./container.ts";
import type { CodecName, CodecOptions, Encoder, Kind, KindOptions, Values } from "./kind.ts";
import { kindOf, read } from "./kinds.ts";
import { checkAllFinite } from "./stats.ts";
import {
  type DecompressOptions,
  type DecompressTensorOptions,
  restore,
  type Source,
  withValues,
} from "./values.ts";

/** How gradients are compressed this time. */
export interface CompressOptions {
  /** Bytes to write to instead of allocating, at least `maxBytes(gradients.length)` of them. */
  out?: Uint8Array | undefined;
  /** Replaces the codec's seed: take another one at every step, the same on all workers. */
  seed?: number | bigint | undefined;
}

/** What compressed gradients say about themselves. */
export interface CompressedInfo {
  /** The codec that wrote them. */
  codec: CodecName;
  /** Gradients that they stand for. */
  count: number;
  /** What random choices were made from. */
  seed: bigint;
  /** Everything that is sent: header, payload and checksum. */
  bytes: number;
  /** Bits for each gradient. */
  bitsPerParameter: number;
  /** How many times smaller than f32 they are. */
  ratio: number;
}

/** What a `GradientCodec` remembers. */
export interface GradientCodecState {
  /** The second thin matrix of the last call of `"lowrank"`, with which the next one begins. */
  warmStart?: Float32Array | undefined;
}

/** Known to this file alone. */
const KEY = Symbol("GradientCodec");
let construct: (kind: Kind, options: CodecOptions) => GradientCodec;

/** Refuses a codec that only the CPU has kernels for. */
function expectKernels(kind: Kind, place: Place): void {
  if (place === "cpu" || kind.onCuda) return;
  throw tritterError(
    "unsupported",
    `The codec "${kind.name}" has no CUDA kernels: it takes gradients on the CPU, got ${place}`,
  );
}

/** What bytes of a kind stand for. */
function sourceOf(kind: Kind, message: Message): Source {
  return {
    count: message.count,
    expectPlace: (place) => expectKernels(kind, place),
    write: (out) => kind.decode(message, out),
  };
}

/**
 * A way to compress gradients, with its options; made by `createCodec`.
 *
 * @example
 * ```ts
 * import { createCodec } from "tritter-accel";
 *
 * const codec = createCodec("sign");
 * const bytes = codec.compress(Float32Array.of(0.5, -0.25, 1, -1));
 * console.log(codec.decompress(bytes)); // the mean magnitude with the signs
 * ```
 */
export class GradientCodec {
  /** The name it was created by. */
  readonly name: CodecName;
  /** What random choices are made from where a call names no seed of its own. */
  readonly seed: bigint;
  /** Where arrays are compressed and decompressed; tensors are where they are. */
  readonly device: Place;
  /** Whether `addCompressed` can add what it makes of different gradients with the same seed. */
  readonly summable: boolean;

  readonly #kind: Kind;
  readonly #encoder: Encoder;

  private constructor(key: symbol, kind: Kind, options: CodecOptions) {
    if (key !== KEY) throw tritterError("invalid_type", "GradientCodec is made by createCodec");
    const { seed = 42, device, ...own } = options;
    this.seed = checkSeed(seed);
    this.device = placeOf(device);
    expectKernels(kind, this.device);
    for (const [option, value] of Object.entries(own)) {
      if (value === undefined || kind.options.includes(option as keyof KindOptions)) continue;
      const allowed = ["seed", "device", ...kind.options].map((name) => `"${name}"`).join(", ");
      throw tritterError(
        "invalid_option",
        `options of ${kind.name} must be among ${allowed}, got ${JSON.stringify(option)}`,
      );
    }
    this.name = kind.name;
    this.summable = kind.summable;
    this.#kind = kind;
    this.#encoder = kind.create(own);
  }

  static {
    construct = (kind, options) => new GradientCodec(KEY, kind, options);
  }

  /**
   * Returns the most bytes that so many gradients are compressed to, for `out` of `compress`.
   *
   * @example
   * ```ts
   * import { createCodec } from "tritter-accel";
   *
   * const codec = createCodec("sign");
   * const out = new Uint8Array(codec.maxBytes(1000));
   * const bytes = codec.compress(new Float32Array(1000).fill(1), { out });
   * console.log(bytes.buffer === out.buffer); // true
   * ```
   */
  maxBytes(count: number): number {
    checkCount(count, "count", { min: 1, max: COUNT_MAX });
    return containerBytes(this.#kind.parameterCount, this.#encoder.payloadMax(count));
  }

  /**
   * Compresses gradients to bytes that describe themselves and end in a checksum.
   *
   * The bytes depend on the gradients, the options and the seed alone, whatever the processor and
   * the number of threads. With `out` they are a view of it. Throws `invalid_value` naming the
   * index for NaN or infinite gradients, `invalid_length` where there are none; `out` holds
   * nothing of use then.
   *
   * A tensor on a CUDA device stays there and only the bytes come back, the same ones that the CPU
   * makes. Of `"topk"` a sample, a bit for each gradient and those that may be kept come to the host,
   * which codes them; for `"entropy"` the host searches the step (see `createCodec`). Arrays travel to
   * the codec's `device` first.
   *
   * @example
   * ```ts
   * import { createCodec } from "tritter-accel";
   *
   * const gradients = Float32Array.from({ length: 1000 }, (_, index) => Math.sin(index));
   * const bytes = createCodec("sign").compress(gradients, { seed: 7 });
   * console.log(32 * gradients.length / (8 * bytes.length) > 15); // true
   * ```
   */
  compress(gradients: Float32Array | Tensor, options?: CompressOptions): Uint8Array {
    if (gradients instanceof Tensor) expectKernels(this.#kind, gradients.device);
    return withValues(gradients, this.device, (values) => this.#compress(values, options));
  }

  #compress(gradients: Values, options: CompressOptions | undefined): Uint8Array {
    const { out, seed } = checkOptions(options, "options");
    const used = seed === undefined ? this.seed : checkSeed(seed);
    if (out !== undefined) checkOut(out, gradients);
    const { code, parameterCount } = this.#kind;
    const parameters = new Array<number>(parameterCount).fill(0);
    let target: Uint8Array | undefined;
    const payloadBytes = this.#encoder.encode(gradients, used, parameters, (bytes) => {
      target = roomFor(containerBytes(parameterCount, bytes), out);
      return payloadOf(target, parameterCount, bytes);
    });
    const message = { codec: code, count: gradients.length, seed: used, parameters };
    return seal(target!, message, payloadBytes);
  }

  /**
   * Returns the gradients that bytes of a codec of the same name stand for, whatever its options.
   *
   * Throws `invalid_format` for bytes that are damaged, cut off, or of another codec, before memory
   * is allocated for the gradients. With a tensor as `out`, or a `device`, they come back as a tensor
   * that is there.
   *
   * @example
   * ```ts
   * import { createCodec } from "tritter-accel";
   *
   * const codec = createCodec("sign");
   * const bytes = codec.compress(Float32Array.of(1, -1, 1));
   * console.log(codec.decompress(bytes, { out: new Float32Array(3) })); // 1 -1 1
   * ```
   */
  decompress(bytes: Uint8Array, options?: DecompressOptions): Float32Array;
  /** Returns them as a tensor. */
  decompress(bytes: Uint8Array, options: DecompressTensorOptions): Tensor<"f32">;
  decompress(
    bytes: Uint8Array,
    options?: DecompressOptions | DecompressTensorOptions,
  ): Float32Array | Tensor<"f32"> {
    const { kind, message } = read(bytes);
    if (kind !== this.#kind) {
      refuse(`bytes must be of the codec "${this.name}", got "${kind.name}"`);
    }
    return restore(sourceOf(kind, message), options, this.device);
  }

  /**
   * Forgets what earlier calls left; only `"lowrank"` keeps anything.
   *
   * @example
   * ```ts
   * import { createCodec } from "tritter-accel";
   *
   * createCodec("sign").reset();
   * ```
   */
  reset(): void {
    this.#encoder.reset?.();
  }

  /**
   * Returns what it remembers of earlier calls, as copies: nothing, but for `"lowrank"`.
   *
   * @example
   * ```ts
   * import { createCodec } from "tritter-accel";
   *
   * const codec = createCodec("lowrank", { shape: [20, 30], rank: 2 });
   * const gradients = Float32Array.from({ length: 600 }, (_, index) => Math.sin(index ** 2));
   * codec.compress(gradients);
   * const other = createCodec("lowrank", { shape: [20, 30], rank: 2 });
   * other.restore(codec.state());
   * const [a, b] = [codec, other].map((codec) => codec.compress(gradients));
   * console.log(a!.every((byte, index) => byte === b![index])); // true
   * ```
   */
  state(): GradientCodecState {
    const { memory } = this.#encoder;
    return memory === undefined ? {} : { warmStart: memory.slice() };
  }

  /**
   * Takes over a copy of what `state` returned; what it does not have is forgotten.
   *
   * Throws `invalid_option` for a warm start that this codec does not have, `invalid_length` for one of
   * another length, `invalid_value` for values that are not finite; nothing has changed then.
   */
  restore(state: GradientCodecState): void {
    this.checkState(state);
    this.reset();
    if (state.warmStart !== undefined) this.#encoder.memory!.set(state.warmStart);
  }

  /** Throws as `restore` does. */
  checkState(state: GradientCodecState): void {
    const { warmStart } = checkObject(state, "state");
    if (warmStart === undefined) return;
    const { memory } = this.#encoder;
    if (memory === undefined) {
      throw tritterError("invalid_option", `state must have no warmStart for ${this.name}`);
    }
    checkAllFinite(checkArray(warmStart, Float32Array, "warmStart", memory.length), "warmStart");
  }
}

/** The payload is written while the gradients are still read. */
function checkOut(out: Uint8Array, gradients: Values): void {
  checkArray(out, Uint8Array, "out");
  if (!(gradients instanceof Float32Array)) return;
  const [start, end] = [gradients.byteOffset, gradients.byteOffset + gradients.byteLength];
  if (
    out.buffer === gradients.buffer && out.byteOffset < end &&
    out.byteOffset + out.byteLength > start
  ) {
    throw tritterError("invalid_value", "out must not overlap the gradients");
  }
}

/**
 * Returns a codec of this name.
 *
 * | name           | what is sent                                  | options (default)            | times smaller: cosine |
 * | -------------- | --------------------------------------------- | ---------------------------- | --------------------- |
 * | `"rotated"`    | a random rotation at 2, 3, 4, 8 or 16 levels  | `bits` 1, 1.58, 2, 3, 4 (2), or `ratio`, or `cosine` | 32: 0.797, 20: 0.899, 16: 0.939, 10.6: 0.982, 8: 0.995, whatever the gradients are |
 * | `"entropy"`    | what is worth its bits, entropy-coded         | `ratio` (20) or `cosine`     | normal gradients 10: 0.993, 16: 0.961, 20: 0.931; heavy-tailed ones more |
 * | `"topk"`       | the largest ones and their places             | `ratio` (50); `bits` of a value, 4 to 8 (8); `method` `"exact"`, `"sampled"` | whatever the gradients allow: 100: 0.39 for normal ones, 0.9 for heavy-tailed ones |
 * | `"ternary"`    | -1, 0 or 1, a scale a block                   | `method` `"optimal"`, `"twn"`, `"absmean"`; `block` (640) | 19.4: 0.90 for normal gradients, less for others |
 * | `"sign"`       | the sign, a scale a block                     | `block` (4096)               | 31.7: 0.798 for normal gradients, less for others |
 * | `"projection"` | a linear sketch, which can be added to others | `ratio` (10), `gain`, `method` | r: 1 / sqrt(r), and no linear projection can do better |
 * | `"lowrank"`    | a matrix as the product of two thin ones      | `shape`, `rank` (4) or `ratio` | whatever the matrix allows; better from step to step |
 * | `"vsa"`        | ternary hypervectors in one bundle            | `ratio` (40)                 | 20: 0.90, 40: 0.60, 60: 0.48, 100: 0.36, whatever the gradients are |
 *
 * `"entropy"` comes closest to the gradients in as many bytes, and takes exactly as many bytes, or as
 * few for a cosine, as it is told: at most the ratio, container included (312 bytes are always
 * allowed), or at least the cosine, up to 0.99999. It is a trellis-coded quantiser (Marcellin and
 * Fischer 1990) with rANS behind it (Duda 2013), whose tables follow how large the gradients of a
 * block are. `"topk"` is the sparsification of Deep Gradient Compression (arXiv:1712.01887);
 * `"sampled"` takes its bound from a sample and fills a twelfth less of its bytes at the worst.
 *
 * `"rotated"` follows DRIVE and EDEN (arXiv:2105.08339, 2108.08842): what comes back is unbiased over
 * the seeds for gradients that are spread out, and where a few of 4096 dominate off by up to some 5 %
 * of their length at 1 bit. `"projection"` is unbiased whatever they are. `"lowrank"` is PowerSGD
 * (arXiv:1905.13727), and the only one that remembers its last call. `"entropy"`,
 * `"topk"`, `"ternary"`, `"sign"`, `"lowrank"` and `"vsa"` are biased: use them with `ErrorFeedback`. `"vsa"` mends the design of
 * vsa-optim-rs: keys are bipolar and multiply, so that a bundle of one loses nothing by binding.
 *
 * `seed` and `device` are options of every codec, the others of those that name them; any other is
 * refused. Codecs differ in nothing else: all bytes describe themselves and end in a checksum.
 *
 * All but the method `"dense"` of `"projection"`, which throws `unsupported` there, have CUDA kernels:
 * for tensors that are on a device, and for arrays with `device: "cuda"`. The bytes are the CPU's, and
 * lie on the host. `"topk"` finds on the device what may be kept, and codes it on the CPU. To compress,
 * `"entropy"` fetches 8 bytes for each 64 gradients (a thirty-second of them) and a sample of at most
 * 1 MiB, from which the host finds the step as it always does, and sends back at most 4 bytes for each
 * 64; to decompress, 1 to 4 bytes for each 128.
 *
 * @example
 * ```ts
 * import { compressionStats, createCodec } from "tritter-accel";
 *
 * const gradients = Float32Array.from({ length: 100_000 }, (_, index) => Math.sin(index ** 2));
 * const codec = createCodec("rotated", { bits: 2 });
 * for (let step = 0; step < 2; step++) {
 *   // Another seed at every step, the same on all workers.
 *   const bytes = codec.compress(gradients, { seed: step });
 *   const { ratio, cosine } = compressionStats(gradients, codec.decompress(bytes), bytes);
 *   console.log(ratio > 15.9, cosine > 0.93); // true true
 * }
 * ```
 */
export function createCodec(name: CodecName, options?: CodecOptions): GradientCodec {
  return construct(kindOf(name), checkOptions(options, "options"));
}

/**
 * Returns the gradients that bytes stand for, whichever codec wrote them.
 *
 * Throws `invalid_format` as `GradientCodec.decompress` does; with a tensor as `out`, or a `device`, they
 * come back as a tensor.
 *
 * @example
 * ```ts
 * import { createCodec, decompressGradients } from "tritter-accel";
 *
 * const bytes = createCodec("sign").compress(Float32Array.of(2, -2));
 * console.log(decompressGradients(bytes)); // 2 -2
 * ```
 */
export function decompressGradients(bytes: Uint8Array, options?: DecompressOptions): Float32Array;
/** Returns them as a tensor. */
export function decompressGradients(
  bytes: Uint8Array,
  options: DecompressTensorOptions,
): Tensor<"f32">;
export function decompressGradients(
  bytes: Uint8Array,
  options?: DecompressOptions | DecompressTensorOptions,
): Float32Array | Tensor<"f32"> {
  const { kind, message } = read(bytes);
  return restore(sourceOf(kind, message), options, "cpu");
}

/**
 * Checks compressed gradients and returns what they say about themselves.
 *
 * Throws `invalid_format` as `GradientCodec.decompress` does. The gradients may be far larger than
 * the bytes: look at `count` before bytes of strangers are decompressed.
 *
 * @example
 * ```ts
 * import { compressedInfo, createCodec } from "tritter-accel";
 *
 * const bytes = createCodec("sign").compress(new Float32Array(10_000).fill(1));
 * const { codec, count, ratio } = compressedInfo(bytes);
 * console.log(codec, count, ratio > 25); // sign 10000 true
 * ```
 */
export function compressedInfo(bytes: Uint8Array): CompressedInfo {
  const { kind, message: { count, seed } } = read(bytes);
  return {
    codec: kind.name,
    count,
    seed,
    bytes: bytes.length,
    bitsPerParameter: 8 * bytes.length / count,
    ratio: 4 * count / bytes.length,
  };
}
