// The operations of a model's forward pass on tensors.

import { checkCount, checkNumber, checkOptions } from "../checks.ts";
import { type Device, type Place, placeOf } from "../device.ts";
import { tritterError } from "../errors.ts";
import { checkPacked } from "../matmul.ts";
import { check, native } from "../native/library.ts";
import { PackedTernary } from "../packing/packed_ternary.ts";
import { checkTensor, emptyTensor, floatsOf, memoryHandle, Tensor } from "../tensor.ts";
import {
  joinOnCuda,
  layerNormOnCuda,
  linearOnCuda,
  rmsNormOnCuda,
  sliceOnCuda,
  softmaxOnCuda,
  vectorSize,
} from "./cuda_engine.ts";
import { TernaryLayer } from "./ternary_layer.ts";

/** Options of an `InferenceEngine`. */
export interface InferenceConfig {
  /** Where to compute. Default: the choice of `setDevice`. */
  device?: Device | undefined;
  /** Most rows that `batchedForward` hands on at once, from 1 up. Default: 32. */
  maxBatchSize?: number | undefined;
}

const DEFAULT_EPSILON = 1e-5;
/** Whatever `setDevice` chose: what is computed on the CPU stays there. */
const ON_CPU = { device: "cpu" } as const;

/**
 * Dense and ternary layers, norms and softmax on f32 tensors.
 *
 * Results are new tensors on the engine's device, where inputs and weights must be: nothing travels
 * unasked but norms' weights and biases that are given as arrays. Dense products on a CUDA device are
 * cuBLAS's, see `denseMatmul`; results there are within 1e-5 of the CPU's.
 *
 * @example
 * ```ts
 * import { InferenceEngine, PackedTernary, Tensor } from "tritter-accel";
 *
 * const engine = new InferenceEngine({ maxBatchSize: 2 });
 * using weights = PackedTernary.fromWeights(new Float32Array(32).fill(1), [4, 8]);
 * const x = Tensor.from(new Float32Array(5 * 8).fill(1), [5, 8]);
 * const y = engine.batchedForward(x, (rows) => engine.ternaryLinear(rows, weights));
 * console.log(y.shape); // [ 5, 4 ]
 * ```
 */
export class InferenceEngine {
  /** Where the engine computes. */
  readonly device: Place;
  /** Most rows that `batchedForward` hands on at once. */
  readonly maxBatchSize: number;

  /** Throws `device_unavailable` for a device that is not there. */
  constructor(config?: InferenceConfig) {
    const { device, maxBatchSize = 32 } = checkOptions(config, "config");
    this.device = placeOf(device);
    this.maxBatchSize = checkCount(maxBatchSize, "maxBatchSize", { min: 1 });
  }

  /** True if the engine computes on a GPU. */
  get isGpu(): boolean {
    return this.device !== "cpu";
  }

  /**
   * Multiplies [..., in] by dense weights [out, in], transposed, and adds a bias of [out].
   *
   * @example
   * ```ts
   * import { InferenceEngine, Tensor } from "tritter-accel";
   *
   * const x = Tensor.from(Float32Array.of(1, 2), [1, 2]);
   * const weights = Tensor.from(Float32Array.of(1, 1, 1, -1), [2, 2]);
   * console.log(new InferenceEngine().linear(x, weights).data()); // 3 -1
   * ```
   */
  linear(input: Tensor, weights: Tensor, bias?: Float32Array | Tensor): Tensor<"f32"> {
    this.#checkInput(input, "input");
    this.#checkInput(weights, "weights");
    const [rows, cols] = checkMatrix(weights);
    checkLastAxis(input, cols);
    if (this.device !== "cpu") return linearOnCuda(input, this.device, weights, bias);
    const floats = floatsOf(input, "input");
    const matrix = floatsOf(weights, "weights");
    const biases = bias === undefined ? null : floatsOf(bias, "bias", rows);
    const output = new Float32Array(input.size / cols * rows);
    check(native.linear_f32(
      floats,
      floats.length,
      matrix,
      matrix.length,
      biases,
      biases?.length ?? 0,
      output,
      output.length,
      cols,
    ));
    return Tensor.from(output, [...input.shape.slice(0, -1), rows], ON_CPU);
  }

  /**
   * Multiplies [..., in] by ternary weights and adds a bias of [out].
   *
   * Float weights [out, in] are quantised by absmean per row on every call; packed weights
   * are used as they are, and a `TernaryLayer` with the bias that it has.
   *
   * @example
   * ```ts
   * import { InferenceEngine, PackedTernary, Tensor } from "tritter-accel";
   *
   * using weights = PackedTernary.fromTernary(Int8Array.of(1, -1), Float32Array.of(2), [1, 2]);
   * const x = Tensor.from(Float32Array.of(5, 3), [1, 2]);
   * console.log(new InferenceEngine().ternaryLinear(x, weights).data()); // 4
   * ```
   */
  ternaryLinear(
    input: Tensor,
    weights: Tensor | PackedTernary | TernaryLayer,
    bias?: Float32Array | Tensor,
  ): Tensor<"f32"> {
    const x = this.#checkInput(input, "input");
    const { device } = this;
    if (weights instanceof TernaryLayer) {
      if (bias === undefined) return weights.forward(x);
      throw tritterError(
        "invalid_option",
        "bias must be left out where weights is a TernaryLayer, which has its own",
      );
    }
    if (!(weights instanceof Tensor)) {
      return checkPacked(weights, "weights").matmul(x, { bias, device });
    }
    this.#checkInput(weights, "weights");
    using packed = PackedTernary.fromWeights(weights, checkMatrix(weights), { device });
    return packed.matmul(x, { bias });
  }

  /** Checks for an f32 tensor on the engine's device. */
  #checkInput(value: unknown, name: string): Tensor<"f32"> {
    if (this.device === "cpu" || !(value instanceof Tensor)) return checkTensor(value, name);
    memoryHandle(value, "f32", this.device, name);
    return value as Tensor<"f32">;
  }

  /**
   * Applies a function to slices of at most `maxBatchSize` rows and joins the results.
   *
   * Slices share the input's memory; on a CUDA device they are copies, which are freed after the
   * callback, as the results are once they are joined. The results must be f32 tensors with as many
   * rows as their slices and equal other axes; the callback need not keep them.
   *
   * @example
   * ```ts
   * import { InferenceEngine, Tensor } from "tritter-accel";
   *
   * const engine = new InferenceEngine({ maxBatchSize: 2 });
   * const x = Tensor.from(new Float32Array(15), [5, 3]);
   * console.log(engine.batchedForward(x, (rows) => engine.softmax(rows)).shape); // [ 5, 3 ]
   * ```
   */
  batchedForward(input: Tensor, forward: (batch: Tensor<"f32">) => Tensor): Tensor<"f32"> {
    const x = this.#checkInput(input, "input");
    if (typeof forward !== "function") {
      throw tritterError("invalid_type", "forward must be a function");
    }
    const rows = x.shape[0];
    if (rows === undefined) {
      throw tritterError("invalid_shape", "input must have at least one axis, got []");
    }
    if (rows <= this.maxBatchSize) return this.#checkInput(forward(x), "the result");
    return this.device === "cpu"
      ? this.#joinSlices(x, rows, forward)
      : this.#joinCopies(x, rows, this.device, forward);
  }

  #joinSlices(
    x: Tensor<"f32">,
    rows: number,
    forward: (batch: Tensor<"f32">) => Tensor,
  ): Tensor<"f32"> {
    const rowSize = x.size / rows;
    let joined: Float32Array<ArrayBuffer> | undefined;
    let resultShape: readonly number[] = [];
    for (let start = 0; start < rows; start += this.maxBatchSize) {
      const count = Math.min(this.maxBatchSize, rows - start);
      const slice = x.data().subarray(start * rowSize, (start + count) * rowSize);
      const result = checkTensor(
        forward(Tensor.from(slice, [count, ...x.shape.slice(1)], ON_CPU)),
        "the result",
      );
      const outputSize = result.size / count;
      if (joined === undefined) {
        resultShape = result.shape.slice(1);
        joined = new Float32Array(rows * outputSize);
      }
      checkShapesEqual(result.shape, [count, ...resultShape]);
      joined.set(result.data(), start * outputSize);
    }
    return Tensor.from(joined!, [rows, ...resultShape], ON_CPU);
  }

  #joinCopies(
    x: Tensor<"f32">,
    rows: number,
    place: Place,
    forward: (batch: Tensor<"f32">) => Tensor,
  ): Tensor<"f32"> {
    let joined: Tensor<"f32"> | undefined;
    try {
      for (let start = 0; start < rows; start += this.maxBatchSize) {
        const count = Math.min(this.maxBatchSize, rows - start);
        using slice = sliceOnCuda(x, place, start, count);
        using result = this.#checkInput(forward(slice), "the result");
        joined ??= emptyTensor([rows, ...result.shape.slice(1)], place);
        checkShapesEqual(result.shape, [count, ...joined.shape.slice(1)]);
        joinOnCuda(result, joined, start);
      }
      return joined!;
    } catch (error) {
      joined?.[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Makes the elements along an axis positive with sum 1: exp(x) over the sum of exp(x).
   *
   * A negative axis counts from the end; the default is the last.
   *
   * @example
   * ```ts
   * import { InferenceEngine, Tensor } from "tritter-accel";
   *
   * const x = Tensor.from(Float32Array.of(0, 0, 1, 1), [2, 2]);
   * console.log(new InferenceEngine().softmax(x, 1).data()); // 0.5 0.5 0.5 0.5
   * ```
   */
  softmax(input: Tensor, axis = -1): Tensor<"f32"> {
    this.#checkInput(input, "input");
    const { shape } = input;
    if (shape.length === 0) {
      throw tritterError("invalid_shape", "input must have at least one axis, got []");
    }
    checkCount(axis, "axis", { min: -shape.length, max: shape.length - 1 });
    const size = shape.at(axis)!;
    const stride = shape.slice(axis).slice(1).reduce((product, length) => product * length, 1);
    if (this.device !== "cpu") return softmaxOnCuda(input, this.device, size, stride);
    const floats = floatsOf(input, "input");
    const output = new Float32Array(floats.length);
    check(native.softmax(floats, floats.length, output, output.length, size, stride));
    return Tensor.from(output, shape, ON_CPU);
  }

  /**
   * Shifts and scales the last axis to mean 0 and variance 1, then applies weight and bias.
   *
   * The variance is that of the population; `epsilon` (default 1e-5) is added to it.
   *
   * @example
   * ```ts
   * import { InferenceEngine, Tensor } from "tritter-accel";
   *
   * const x = Tensor.from(Float32Array.of(1, 3), [1, 2]);
   * console.log(new InferenceEngine().layerNorm(x, Float32Array.of(1, 1)).data()); // -1 1, nearly
   * ```
   */
  layerNorm(
    input: Tensor,
    weight: Float32Array | Tensor,
    bias?: Float32Array | Tensor,
    epsilon: number = DEFAULT_EPSILON,
  ): Tensor<"f32"> {
    this.#checkInput(input, "input");
    checkLastAxis(input, vectorSize(weight, "weight"));
    checkNumber(epsilon, "epsilon", { min: 0 });
    if (this.device !== "cpu") return layerNormOnCuda(input, this.device, weight, bias, epsilon);
    const floats = floatsOf(input, "input");
    const scale = floatsOf(weight, "weight");
    const shift = bias === undefined ? null : floatsOf(bias, "bias", scale.length);
    const output = new Float32Array(floats.length);
    check(native.layer_norm(
      floats,
      floats.length,
      scale,
      scale.length,
      shift,
      shift?.length ?? 0,
      output,
      output.length,
      epsilon,
    ));
    return Tensor.from(output, input.shape, ON_CPU);
  }

  /**
   * Divides the last axis by the root of its mean square plus `epsilon`, then applies the weight.
   *
   * Source: arXiv:1910.07467. The default of `epsilon` is 1e-5.
   *
   * @example
   * ```ts
   * import { InferenceEngine, Tensor } from "tritter-accel";
   *
   * const x = Tensor.from(Float32Array.of(2, -2), [1, 2]);
   * console.log(new InferenceEngine().rmsNorm(x, Float32Array.of(1, 3)).data()); // 1 -3, nearly
   * ```
   */
  rmsNorm(
    input: Tensor,
    weight: Float32Array | Tensor,
    epsilon: number = DEFAULT_EPSILON,
  ): Tensor<"f32"> {
    this.#checkInput(input, "input");
    checkLastAxis(input, vectorSize(weight, "weight"));
    checkNumber(epsilon, "epsilon", { min: 0 });
    if (this.device !== "cpu") return rmsNormOnCuda(input, this.device, weight, epsilon);
    const floats = floatsOf(input, "input");
    const scale = floatsOf(weight, "weight");
    const output = new Float32Array(floats.length);
    check(native.rms_norm(
      floats,
      floats.length,
      scale,
      scale.length,
      output,
      output.length,
      epsilon,
    ));
    return Tensor.from(output, input.shape, ON_CPU);
  }
}

function checkMatrix(weights: Tensor): readonly [number, number] {
  if (weights.shape.length === 2) return weights.shape as readonly [number, number];
  throw tritterError(
    "invalid_shape",
    `weights must have 2 axes, got [${weights.shape.join(", ")}]`,
  );
}

function checkLastAxis(input: Tensor, size: number): void {
  if (size > 0 && input.shape.at(-1) === size) return;
  throw tritterError(
    "invalid_shape",
    `input must have ${size} elements along its last axis, got [${input.shape.join(", ")}]`,
  );
}

function checkShapesEqual(actual: readonly number[], expected: readonly number[]): void {
  if (actual.length === expected.length && actual.every((size, axis) => size === expected[axis])) {
    return;
  }
  throw tritterError(
    "invalid_shape",
    `the result must have shape [${expected.join(", ")}], got [${actual.join(", ")}]`,
  );
}
