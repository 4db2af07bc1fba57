// Makes a BitNet model of random weights, to measure the speed of a shape whose real weights nobody
// wants to download: a Hugging Face directory with config.json and model.safetensors, no tokenizer.
//
//     bun bench/report/random_model.ts [bitnet-2b | tiny] [directory]
//
// The same bytes every time, written outside the repository, and found again by the next run.

import {
  closeSync,
  mkdirSync,
  openSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** The numbers that make a model's shape. */
export interface ModelShape {
  hidden: number;
  layers: number;
  intermediate: number;
  heads: number;
  kvHeads: number;
  vocab: number;
}

/** What can be made: the shape of BitNet b1.58 2B4T (arXiv:2504.12285), and one for a smoke test. */
export const SHAPES: Readonly<Record<"bitnet-2b" | "tiny", ModelShape>> = {
  "bitnet-2b": {
    hidden: 2560,
    layers: 30,
    intermediate: 6912,
    heads: 20,
    kvHeads: 5,
    vocab: 128_256,
  },
  tiny: { hidden: 256, layers: 2, intermediate: 512, heads: 4, kvHeads: 2, vocab: 2048 },
};

interface TensorPlan {
  name: string;
  dtype: "U8" | "BF16";
  shape: number[];
  sizeBytes: number;
  fill: (words: Uint32Array) => void;
}

const CHUNK_WORDS = 2 ** 21;

/** Returns the directory of a random model; makes it if it is not there yet. */
export function randomModel(
  name: keyof typeof SHAPES,
  directory: string = defaultDirectory(name),
): string {
  const shape = SHAPES[name];
  const plans = planTensors(shape);
  const header = makeHeader(plans);
  const totalBytes = plans.reduce((sum, plan) => sum + plan.sizeBytes, header.length);
  const path = join(directory, "model.safetensors");
  if (sizeOf(path) === totalBytes) return directory;
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "config.json"), JSON.stringify(makeConfig(shape), null, 2) + "\n");
  // Under its own name only once it is whole: an interrupted run leaves nothing that looks right.
  const partial = `${path}.${process.pid}`;
  const file = openSync(partial, "w");
  try {
    writeSync(file, header);
    const chunk = new Uint32Array(CHUNK_WORDS);
    for (const plan of plans) writeTensor(file, plan, chunk);
  } finally {
    closeSync(file);
  }
  renameSync(partial, path);
  return directory;
}

function defaultDirectory(name: string): string {
  return join(tmpdir(), `tritter-random-${name}`);
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? -1;
}

function makeConfig(shape: ModelShape): Record<string, unknown> {
  return {
    architectures: ["BitNetForCausalLM"],
    model_type: "bitnet",
    vocab_size: shape.vocab,
    hidden_size: shape.hidden,
    intermediate_size: shape.intermediate,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    hidden_act: "relu2",
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    attention_bias: false,
    rope_parameters: { rope_type: "default", rope_theta: 500_000 },
    dtype: "bfloat16",
    quantization_config: {
      quant_method: "bitnet",
      linear_class: "autobitlinear",
      quantization_mode: "offline",
    },
  };
}

function planTensors(shape: ModelShape): TensorPlan[] {
  const random = randomWords(0x5eed);
  const keys = shape.hidden / shape.heads * shape.kvHeads;
  const table = (name: string, sizes: number[], fill: TensorPlan["fill"]): TensorPlan => {
    const sizeBytes = sizes.reduce((product, size) => product * size, 2);
    return { name, dtype: "BF16", shape: sizes, sizeBytes, fill };
  };
  const ones: TensorPlan["fill"] = (words) => words.fill(0x3f803f80);
  const linear = (name: string, rows: number, cols: number): TensorPlan[] => [
    {
      name: `${name}.weight`,
      dtype: "U8",
      shape: [rows / 4, cols],
      sizeBytes: rows / 4 * cols,
      fill: (words) => fillTrits(words, random),
    },
    // Outputs about as large as the normed inputs: trits have the variance 2/3.
    table(`${name}.weight_scale`, [1], (words) => words.fill(bfloat16(Math.sqrt(1.5 / cols)))),
  ];
  const { hidden, intermediate } = shape;
  const plans = [
    table("model.embed_tokens.weight", [shape.vocab, hidden], (words) => fillFloats(words, random)),
    table("model.norm.weight", [hidden], ones),
  ];
  for (let layer = 0; layer < shape.layers; layer += 1) {
    const prefix = `model.layers.${layer}`;
    plans.push(
      table(`${prefix}.input_layernorm.weight`, [hidden], ones),
      table(`${prefix}.post_attention_layernorm.weight`, [hidden], ones),
      table(`${prefix}.self_attn.attn_sub_norm.weight`, [hidden], ones),
      table(`${prefix}.mlp.ffn_sub_norm.weight`, [intermediate], ones),
      ...linear(`${prefix}.self_attn.q_proj`, hidden, hidden),
      ...linear(`${prefix}.self_attn.k_proj`, keys, hidden),
      ...linear(`${prefix}.self_attn.v_proj`, keys, hidden),
      ...linear(`${prefix}.self_attn.o_proj`, hidden, hidden),
      ...linear(`${prefix}.mlp.gate_proj`, intermediate, hidden),
      ...linear(`${prefix}.mlp.up_proj`, intermediate, hidden),
      ...linear(`${prefix}.mlp.down_proj`, hidden, intermediate),
    );
  }
  return plans;
}

/** The length of the JSON, then the JSON, padded so that the tensors begin at a multiple of 64. */
function makeHeader(plans: readonly TensorPlan[]): Uint8Array {
  const entries: Record<string, unknown> = {};
  let offset = 0;
  for (const { name, dtype, shape, sizeBytes } of plans) {
    entries[name] = { dtype, shape, data_offsets: [offset, offset + sizeBytes] };
    offset += sizeBytes;
  }
  const json = JSON.stringify(entries);
  const padded = json.padEnd(Math.ceil((json.length + 8) / 64) * 64 - 8);
  const header = new Uint8Array(8 + padded.length);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded.length), true);
  header.set(new TextEncoder().encode(padded), 8);
  return header;
}

function writeTensor(file: number, plan: TensorPlan, chunk: Uint32Array): void {
  for (let done = 0; done < plan.sizeBytes;) {
    const sizeBytes = Math.min(chunk.byteLength, plan.sizeBytes - done);
    plan.fill(chunk.subarray(0, Math.ceil(sizeBytes / 4)));
    writeSync(file, new Uint8Array(chunk.buffer, 0, sizeBytes));
    done += sizeBytes;
  }
}

/** Xorshift32 (Marsaglia 2003): quick, and nobody looks for patterns here. */
function randomWords(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  };
}

/** All bytes of four codes 0, 1, 2, over and over, so that eight random bits choose one. */
const TRIT_BYTES = Uint8Array.from({ length: 256 }, (_, index) => {
  const trits = index % 81;
  return trits % 3 | Math.floor(trits / 3) % 3 << 2 | Math.floor(trits / 9) % 3 << 4 |
    Math.floor(trits / 27) << 6;
});

function fillTrits(words: Uint32Array, random: () => number): void {
  for (let index = 0; index < words.length; index += 1) {
    const bits = random();
    words[index] = TRIT_BYTES[bits & 255]! | TRIT_BYTES[bits >>> 8 & 255]! << 8 |
      TRIT_BYTES[bits >>> 16 & 255]! << 16 | TRIT_BYTES[bits >>> 24]! << 24;
  }
}

/** Two bf16 numbers a word: any sign and fraction, magnitudes from 2^-6 to 2^-4. */
function fillFloats(words: Uint32Array, random: () => number): void {
  for (let index = 0; index < words.length; index += 1) {
    words[index] = (random() & 0x80ff_80ff) + 0x3c80_3c80;
  }
}

/** The upper half of a number's f32 bits. */
function bfloat16(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]! >>> 16;
}

if (import.meta.main) {
  const [name = "bitnet-2b", directory] = process.argv.slice(2);
  if (!Object.hasOwn(SHAPES, name)) {
    console.error(`Expected ${Object.keys(SHAPES).join(" or ")}, got ${name}`);
    process.exit(1);
  }
  console.log(randomModel(name as keyof typeof SHAPES, directory));
}
