// Reverse-mode differentiation in float64, number by number: what the layers that train are compared
// with. Slow, and too simple to be wrong.

/** A number of a tape. */
export type Node = number;

/** Numbers and how they came from others. */
export class Tape {
  readonly #values: number[] = [];
  readonly #parents: (readonly Node[])[] = [];
  readonly #partials: (readonly number[])[] = [];

  /** Adds a number, with its derivatives by those that it was computed from. */
  push(value: number, parents: readonly Node[] = [], partials: readonly number[] = []): Node {
    this.#parents.push(parents);
    this.#partials.push(partials);
    return this.#values.push(value) - 1;
  }

  /** Adds numbers that come from nowhere. */
  inputs(values: ArrayLike<number>): Node[] {
    return Array.from(values, (value) => this.push(value));
  }

  /** The value of a number. */
  at(node: Node): number {
    return this.#values[node]!;
  }

  /** The values of numbers. */
  valuesOf(nodes: readonly Node[]): number[] {
    return nodes.map((node) => this.at(node));
  }

  /** The derivatives of a number by all others. */
  gradientsOf(node: Node): (nodes: readonly Node[]) => number[] {
    const gradients = new Float64Array(this.#values.length);
    gradients[node] = 1;
    for (let at = node; at >= 0; at--) {
      this.#parents[at]!.forEach((parent, index) => {
        gradients[parent]! += gradients[at]! * this.#partials[at]![index]!;
      });
    }
    return (nodes) => nodes.map((other) => gradients[other]!);
  }

  sum(nodes: readonly Node[]): Node {
    const value = nodes.reduce((total, node) => total + this.at(node), 0);
    return this.push(value, nodes, nodes.map(() => 1));
  }

  dot(a: readonly Node[], b: readonly Node[]): Node {
    const [x, y] = [this.valuesOf(a), this.valuesOf(b)];
    const value = x.reduce((total, left, index) => total + left * y[index]!, 0);
    return this.push(value, [...a, ...b], [...y, ...x]);
  }

  add(a: Node, b: Node): Node {
    return this.sum([a, b]);
  }

  multiply(a: Node, b: Node): Node {
    return this.dot([a], [b]);
  }

  scale(a: Node, factor: number): Node {
    return this.push(this.at(a) * factor, [a], [factor]);
  }

  /** function(a), whose derivative there is `derivative`. */
  apply(a: Node, value: number, derivative: number): Node {
    return this.push(value, [a], [derivative]);
  }

  /** A number that stands for `a` but is another: gradients pass it as if nothing had happened. */
  straightThrough(a: Node, value: number): Node {
    return this.push(value, [a], [1]);
  }

  /** The softmax of some numbers. */
  softmax(nodes: readonly Node[]): Node[] {
    const largest = Math.max(...this.valuesOf(nodes));
    const weights = nodes.map((node) => {
      const value = Math.exp(this.at(node) - largest);
      return this.apply(node, value, value);
    });
    const total = this.sum(weights);
    const inverse = this.apply(total, 1 / this.at(total), -1 / this.at(total) ** 2);
    return weights.map((weight) => this.multiply(weight, inverse));
  }
}

/** Rows of a matrix of nodes. */
export function rowsOf(nodes: readonly Node[], columns: number): Node[][] {
  return Array.from(
    { length: nodes.length / columns },
    (_, row) => nodes.slice(row * columns, (row + 1) * columns),
  );
}
