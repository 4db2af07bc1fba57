// The layers that train on a tape: their passes forward, from which the tape has the gradients.

import { type Node, rowsOf, type Tape } from "./gradient_tape.ts";

/** x / sqrt(mean(x^2) + epsilon) * weight, row by row. */
export function rmsNorm(tape: Tape, input: Node[], weight: Node[], epsilon = 1e-5): Node[] {
  return rowsOf(input, weight.length).flatMap((row) => {
    const mean = tape.at(tape.dot(row, row)) / row.length + epsilon;
    const square = tape.scale(tape.dot(row, row), 1 / row.length);
    const inverse = tape.apply(square, mean ** -0.5, -0.5 * mean ** -1.5);
    return row.map((x, index) => tape.multiply(tape.multiply(x, inverse), weight[index]!));
  });
}

/** act(gate) up */
export function gated(
  tape: Tape,
  gate: Node[],
  up: Node[],
  activation: "relu2" | "silu",
): Node[] {
  return gate.map((node, index) => {
    const x = tape.at(node);
    const s = 1 / (1 + Math.exp(-x));
    const activated = activation === "relu2"
      ? tape.apply(node, Math.max(x, 0) ** 2, 2 * Math.max(x, 0))
      : tape.apply(node, x * s, s + x * s * (1 - s));
    return tape.multiply(activated, up[index]!);
  });
}

/** Half to even, of a number near an integer. */
function roundToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Activations that compute as if they had 8 bits, token by token. */
export function quantizeTokens(tape: Tape, input: Node[], features: number): Node[] {
  return rowsOf(input, features).flatMap((row) => {
    const values = tape.valuesOf(row);
    const largest = Math.max(1e-5, ...values.map(Math.abs));
    return row.map((node, index) =>
      tape.straightThrough(node, roundToEven(values[index]! * (127 / largest)) * largest / 127)
    );
  });
}

/** Weights that compute as if they were ternary. */
export function quantizeWeights(tape: Tape, weights: Node[]): Node[] {
  const values = tape.valuesOf(weights);
  const mean = Math.max(
    1e-5,
    values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length,
  );
  return weights.map((node, index) => {
    const trit = Math.abs(values[index]!) >= mean / 2 ? Math.sign(values[index]!) : 0;
    return tape.straightThrough(node, trit * mean);
  });
}

/** A linear layer on weights and activations that compute as if they were rounded. */
export function bitLinear(
  tape: Tape,
  input: Node[],
  weights: Node[],
  features: number,
  bias?: Node[],
): Node[] {
  const rows = rowsOf(quantizeWeights(tape, weights), features);
  return rowsOf(quantizeTokens(tape, input, features), features).flatMap((token) =>
    rows.map((row, index) => {
      const product = tape.dot(token, row);
      return bias === undefined ? product : tape.add(product, bias[index]!);
    })
  );
}

/** Turns the pairs (i, i + headDim / 2) of each head by position times frequency. */
export function rotate(
  tape: Tape,
  values: Node[],
  length: number,
  heads: number,
  headDim: number,
  theta: number,
): Node[] {
  const half = headDim / 2;
  return rowsOf(values, headDim).flatMap((head, index) => {
    const position = Math.floor(index / heads) % length;
    return head.map((node, place) => {
      const angle = position * theta ** (-2 * (place % half) / headDim);
      const other = head[(place + half) % headDim]!;
      const [cos, sin] = [Math.cos(angle), place < half ? -Math.sin(angle) : Math.sin(angle)];
      return tape.push(tape.at(node) * cos + tape.at(other) * sin, [node, other], [cos, sin]);
    });
  });
}

/** The sizes of attention. */
export interface AttentionSizes {
  batch: number;
  length: number;
  heads: number;
  kvHeads: number;
  headDim: number;
}

/** softmax(q k / sqrt(headDim)) v over the positions up to the query's. */
export function attend(
  tape: Tape,
  queries: Node[],
  keys: Node[],
  values: Node[],
  { batch, length, heads, kvHeads, headDim }: AttentionSizes,
): Node[] {
  const [q, k, v] = [queries, keys, values].map((nodes) => rowsOf(nodes, headDim));
  const output: Node[] = [];
  for (let row = 0; row < batch * length * heads; row++) {
    const token = Math.floor(row / heads);
    const kvHead = Math.floor((row % heads) / (heads / kvHeads));
    const first = token - token % length;
    const seen = Array.from(
      { length: token - first + 1 },
      (_, i) => (first + i) * kvHeads + kvHead,
    );
    const weights = tape.softmax(
      seen.map((place) => tape.scale(tape.dot(q![row]!, k![place]!), headDim ** -0.5)),
    );
    for (let d = 0; d < headDim; d++) {
      output.push(tape.dot(weights, seen.map((place) => v![place]![d]!)));
    }
  }
  return output;
}

/** The mean cross-entropy of the targets that are not -100. */
export function crossEntropy(
  tape: Tape,
  hidden: Node[],
  table: Node[],
  targets: ArrayLike<number>,
  features: number,
): Node {
  const rows = rowsOf(table, features);
  const losses = rowsOf(hidden, features).flatMap((state, token) => {
    if (targets[token] === -100) return [];
    const logits = rows.map((row) => tape.dot(state, row));
    const chosen = tape.softmax(logits)[targets[token]!]!;
    return [tape.apply(chosen, -Math.log(tape.at(chosen)), -1 / tape.at(chosen))];
  });
  return tape.scale(tape.sum(losses), 1 / losses.length);
}

/** What a whole model needs to know of itself. */
export interface ReferenceConfig {
  architecture: "BitNetForCausalLM" | "LlamaForCausalLM";
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  activation: "relu2" | "silu";
  rmsNormEps: number;
  tieWordEmbeddings: boolean;
  rope: { theta: number };
}

/** The loss of a whole model; `parameters` by the names of Hugging Face. */
export function modelLoss(
  tape: Tape,
  config: ReferenceConfig,
  parameters: Map<string, Node[]>,
  ids: ArrayLike<number>,
  targets: ArrayLike<number>,
  [batch, length]: readonly [number, number],
): Node {
  const { hiddenSize: hidden, intermediateSize: inner, heads, kvHeads, headDim } = config;
  const epsilon = config.rmsNormEps;
  const get = (name: string) => parameters.get(`${name}.weight`)!;
  const linear = (name: string, input: Node[], features: number) =>
    bitLinear(tape, input, get(name), features, parameters.get(`${name}.bias`));
  const table = rowsOf(get("model.embed_tokens"), hidden);
  let x = Array.from(ids, (id) => table[id]!).flat();
  for (let index = 0; index < config.layers; index++) {
    const prefix = `model.layers.${index}`;
    const normed = rmsNorm(tape, x, get(`${prefix}.input_layernorm`), epsilon);
    const project = (name: string, count: number, turns: boolean) => {
      const projected = linear(`${prefix}.self_attn.${name}`, normed, hidden);
      if (!turns) return projected;
      return rotate(tape, projected, length, count, headDim, config.rope.theta);
    };
    let attended = attend(
      tape,
      project("q_proj", heads, true),
      project("k_proj", kvHeads, true),
      project("v_proj", kvHeads, false),
      { batch, length, heads, kvHeads, headDim },
    );
    const bitnet = config.architecture === "BitNetForCausalLM";
    if (bitnet) {
      attended = rmsNorm(tape, attended, get(`${prefix}.self_attn.attn_sub_norm`), epsilon);
    }
    const out = linear(`${prefix}.self_attn.o_proj`, attended, heads * headDim);
    const middle = x.map((node, i) => tape.add(node, out[i]!));
    const middleNormed = rmsNorm(tape, middle, get(`${prefix}.post_attention_layernorm`), epsilon);
    let activated = gated(
      tape,
      linear(`${prefix}.mlp.gate_proj`, middleNormed, hidden),
      linear(`${prefix}.mlp.up_proj`, middleNormed, hidden),
      config.activation,
    );
    if (bitnet) activated = rmsNorm(tape, activated, get(`${prefix}.mlp.ffn_sub_norm`), epsilon);
    const down = linear(`${prefix}.mlp.down_proj`, activated, inner);
    x = middle.map((node, i) => tape.add(node, down[i]!));
  }
  const last = rmsNorm(tape, x, get("model.norm"), epsilon);
  const head = get(config.tieWordEmbeddings ? "model.embed_tokens" : "lm_head");
  return crossEntropy(tape, last, head, targets, hidden);
}
