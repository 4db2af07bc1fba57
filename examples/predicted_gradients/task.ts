// What is learnt: the next character of a text from the eight before it, by a small network.

/** A model with a loss, as the comparison needs it. */
export interface Task {
  /** The parameters, changed in place by training. */
  readonly parameters: readonly Float32Array[];
  /** Draws a new batch, writes the gradients of its mean loss and returns that loss in nats. */
  lossAndGradients(gradients: readonly Float32Array[]): number;
  /** Mean loss in nats on text that is held out; more windows take longer and say more. */
  validationLoss(windows: number): number;
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A text as numbers of characters; the rare ones share a number. */
export interface Corpus {
  train: Uint8Array;
  validation: Uint8Array;
  /** Different numbers. */
  symbols: number;
}

const RARE = 100;

/** Numbers the characters, and holds out the last tenth. */
export function corpusOf(text: string): Corpus {
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  const frequent = [...counts].filter(([, count]) => count >= RARE).map(([character]) => character)
    .sort().slice(0, 255);
  const numbers = new Map(frequent.map((character, at) => [character, at + 1]));
  const all = Uint8Array.from([...text], (character) => numbers.get(character) ?? 0);
  const cut = Math.floor(all.length * 0.9);
  return {
    train: all.subarray(0, cut),
    validation: all.subarray(cut),
    symbols: frequent.length + 1,
  };
}

const CONTEXT = 8;
const EMBEDDING = 12;
const HIDDEN = 96;
const BATCH = 64;
const INPUT = CONTEXT * EMBEDDING;

/**
 * Embeddings of eight characters, one hidden layer, softmax.
 *
 *     x = [e(c1) .. e(c8)]   h = tanh(W1 x + b1)   p = softmax(W2 h + b2)
 */
export class CharacterTask implements Task {
  readonly parameters: readonly Float32Array[];
  readonly #corpus: Corpus;
  readonly #random: () => number;
  readonly #input = new Float32Array(INPUT);
  readonly #hidden = new Float32Array(HIDDEN);
  readonly #inputGradient = new Float32Array(INPUT);
  readonly #hiddenGradient = new Float32Array(HIDDEN);
  readonly #scores: Float32Array;

  /** The seed decides the first parameters and the batches. */
  constructor(corpus: Corpus, seed: number) {
    this.#corpus = corpus;
    this.#random = randomOf(seed);
    this.#scores = new Float32Array(corpus.symbols);
    const matrix = (length: number, size: number) =>
      Float32Array.from({ length }, () => size * (2 * this.#random() - 1));
    this.parameters = [
      matrix(corpus.symbols * EMBEDDING, 1),
      matrix(HIDDEN * INPUT, Math.sqrt(3 / INPUT)),
      new Float32Array(HIDDEN),
      matrix(corpus.symbols * HIDDEN, Math.sqrt(3 / HIDDEN)),
      new Float32Array(corpus.symbols),
    ];
  }

  lossAndGradients(gradients: readonly Float32Array[]): number {
    for (const gradient of gradients) gradient.fill(0);
    const text = this.#corpus.train;
    let total = 0;
    for (let sample = 0; sample < BATCH; sample++) {
      const at = Math.floor(this.#random() * (text.length - CONTEXT));
      total += this.#forward(text, at);
      this.#backward(text, at, gradients);
    }
    return total / BATCH;
  }

  validationLoss(windows: number): number {
    const text = this.#corpus.validation;
    const stride = (text.length - CONTEXT - 1) / windows;
    let total = 0;
    for (let window = 0; window < windows; window++) {
      total += this.#forward(text, Math.floor(window * stride));
    }
    return total / windows;
  }

  /** Loss of the character after the window; leaves probabilities where the scores were. */
  #forward(text: Uint8Array, at: number): number {
    const [embedding, first, firstBias, second, secondBias] = this.parameters;
    const [input, hidden, scores] = [this.#input, this.#hidden, this.#scores];
    for (let place = 0; place < CONTEXT; place++) {
      const row = text[at + place]! * EMBEDDING;
      for (let i = 0; i < EMBEDDING; i++) input[place * EMBEDDING + i] = embedding![row + i]!;
    }
    for (let unit = 0; unit < HIDDEN; unit++) {
      hidden[unit] = Math.tanh(dot(first!, unit * INPUT, input) + firstBias![unit]!);
    }
    let most = -Infinity;
    for (let symbol = 0; symbol < scores.length; symbol++) {
      scores[symbol] = dot(second!, symbol * HIDDEN, hidden) + secondBias![symbol]!;
      most = Math.max(most, scores[symbol]!);
    }
    let sum = 0;
    for (let symbol = 0; symbol < scores.length; symbol++) {
      scores[symbol] = Math.exp(scores[symbol]! - most);
      sum += scores[symbol]!;
    }
    for (let symbol = 0; symbol < scores.length; symbol++) scores[symbol]! /= sum;
    return -Math.log(Math.max(scores[text[at + CONTEXT]!]!, 1e-30));
  }

  /** Adds the gradients of what `#forward` has just computed, over the batch. */
  #backward(text: Uint8Array, at: number, gradients: readonly Float32Array[]): void {
    const [, first, , second] = this.parameters;
    const [embeddingGradient, firstGradient, firstBias, secondGradient, secondBias] = gradients;
    const [hiddenGradient, inputGradient] = [
      this.#hiddenGradient.fill(0),
      this.#inputGradient.fill(0),
    ];
    for (let symbol = 0; symbol < this.#scores.length; symbol++) {
      const target = symbol === text[at + CONTEXT] ? 1 : 0;
      const gradient = (this.#scores[symbol]! - target) / BATCH;
      secondBias![symbol]! += gradient;
      addScaled(secondGradient!, symbol * HIDDEN, this.#hidden, gradient);
      addRow(hiddenGradient, second!, symbol * HIDDEN, gradient);
    }
    for (let unit = 0; unit < HIDDEN; unit++) {
      const gradient = hiddenGradient[unit]! * (1 - this.#hidden[unit]! ** 2);
      firstBias![unit]! += gradient;
      addScaled(firstGradient!, unit * INPUT, this.#input, gradient);
      addRow(inputGradient, first!, unit * INPUT, gradient);
    }
    for (let place = 0; place < CONTEXT; place++) {
      const row = text[at + place]! * EMBEDDING;
      for (let i = 0; i < EMBEDDING; i++) {
        embeddingGradient![row + i]! += inputGradient[place * EMBEDDING + i]!;
      }
    }
  }
}

function dot(matrix: Float32Array, row: number, vector: Float32Array): number {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < vector.length; i += 4) {
    a += matrix[row + i]! * vector[i]!;
    b += matrix[row + i + 1]! * vector[i + 1]!;
    c += matrix[row + i + 2]! * vector[i + 2]!;
    d += matrix[row + i + 3]! * vector[i + 3]!;
  }
  return a + b + c + d;
}

function addScaled(matrix: Float32Array, row: number, vector: Float32Array, factor: number): void {
  for (let i = 0; i < vector.length; i++) matrix[row + i]! += factor * vector[i]!;
}

function addRow(vector: Float32Array, matrix: Float32Array, row: number, factor: number): void {
  for (let i = 0; i < vector.length; i++) vector[i]! += factor * matrix[row + i]!;
}
