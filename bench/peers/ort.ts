// onnxruntime-node: the product of fp32 weights, and of 2-bit weights (MatMulNBits) with int8
// activations. It is installed into bench/node_modules by the benchmark alone.

import { createRequire } from "node:module";
import { BLOCK, matMul, matMulNBits } from "./onnx.ts";
import { type Product, type Subject, Unavailable } from "./subject.ts";

/** The part of onnxruntime-node in use; its own types are there only when it is installed. */
interface Ort {
  Tensor: new (
    type: "float32",
    data: Float32Array,
    dims: readonly number[],
  ) => unknown;
  InferenceSession: {
    create(
      model: Uint8Array,
      options: Record<string, unknown>,
    ): Promise<Session>;
  };
  env: { versions: { node?: string } };
}

interface Session {
  run(
    feeds: Record<string, unknown>,
    fetches: Record<string, unknown>,
  ): Promise<unknown>;
  release(): Promise<void>;
}

let loaded: Ort | Unavailable | undefined;

function load(): Ort {
  if (loaded === undefined) {
    try {
      loaded = createRequire(import.meta.url)("onnxruntime-node") as Ort;
    } catch (error) {
      const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
      loaded = new Unavailable(`onnxruntime-node cannot be loaded: ${reason}`);
    }
  }
  if (loaded instanceof Unavailable) throw loaded;
  return loaded;
}

/** Name and version, or why there is none. */
export function describeOrt(): string {
  try {
    return `onnxruntime-node ${load().env.versions.node ?? ""}`.trim();
  } catch (error) {
    return (error as Error).message;
  }
}

async function subject(
  name: string,
  { batch, rows, cols, input }: Product,
  threads: number,
  model: Uint8Array,
): Promise<Subject> {
  const ort = load();
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
  });
  const output = new Float32Array(batch * rows);
  const feeds = { x: new ort.Tensor("float32", input, [batch, cols]) };
  const fetches = { y: new ort.Tensor("float32", output, [batch, rows]) };
  return {
    name,
    threads,
    output,
    // There is no synchronous call; what the promise costs is part of what a user waits for.
    async run() {
      await session.run(feeds, fetches);
    },
    dispose() {
      void session.release();
    },
  };
}

/** MatMul of fp32 weights. */
export function ortFloat32(
  product: Product,
  threads: number,
): Promise<Subject> {
  const { batch, rows, cols, weights } = product;
  load();
  const transposed = new Float32Array(rows * cols);
  // In squares, because a column of the weights touches a page for each element.
  for (let top = 0; top < rows; top += 64) {
    for (let left = 0; left < cols; left += 64) {
      for (let row = top; row < top + 64 && row < rows; row++) {
        for (let col = left; col < left + 64 && col < cols; col++) {
          transposed[col * rows + row] = weights[row * cols + col]!;
        }
      }
    }
  }
  return subject(
    "ORT fp32",
    product,
    threads,
    matMul(transposed, batch, rows, cols),
  );
}

/** MatMulNBits of 2-bit weights in blocks of 128, accuracy level 4 (int8 activations). */
export function ortTwoBits(
  product: Product,
  threads: number,
): Promise<Subject> {
  const { batch, rows, cols, trits, scales } = product;
  load();
  const codes = new Uint8Array(rows * cols / 4);
  for (let index = 0; index < trits.length; index++) {
    codes[index >> 2]! |= (trits[index]! + 2) << (index & 3) * 2;
  }
  const blocks = cols / BLOCK;
  const blockScales = Float32Array.from(
    { length: rows * blocks },
    (_, index) => scales[Math.floor(index / blocks)]!,
  );
  const model = matMulNBits(codes, blockScales, batch, rows, cols);
  return subject("ORT 2-bit", product, threads, model);
}
