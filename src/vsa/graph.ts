// A graph of vectors.

import { checkChoice, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";
import { checkVector, type Hypervector } from "./hypervector.ts";

import type { OutOptions } from "./options.ts";
import { filled } from "./ownership.ts";
import {
  checkStructureMode,
  type StructureMode,
  type StructureOptions,
  Superposition,
  unbindTrace,
} from "./superposition.ts";

/** Options of a graph. */
export interface GraphOptions extends StructureOptions {
  /** Whether an edge leads from its first node to its second. Default: false, it joins them. */
  directed?: boolean | undefined;
}

/** Options of `Graph.neighbors`. */
export interface NeighborsOptions extends OutOptions<Hypervector> {
  /** In a directed graph, which ends of edges are wanted. Default: `"outgoing"`. */
  direction?: "outgoing" | "incoming" | undefined;
}

const DIRECTIONS = ["outgoing", "incoming"] as const;

/**
 * A graph as one vector: the sum of its edges, each the binding of its two nodes (torchhd's Graph).
 *
 * In a directed graph the node that an edge leads to is permuted cyclically by 1. `neighbors` returns
 * the bundle of the neighbours and noise from the other edges: find them with `ItemMemory.topK`.
 *
 * @example
 * ```ts
 * import { Graph, Hypervector } from "tritter-accel";
 *
 * const vector = (seed: number) => Hypervector.random(10_000, seed, { distribution: "bipolar" });
 * const [a, b, c, d] = [vector(1), vector(2), vector(3), vector(4)] as const;
 * using graph = new Graph(10_000, { directed: true });
 * graph.addEdge(a, b);
 * graph.addEdge(a, c);
 * graph.addEdge(c, d);
 * console.log(graph.hasEdge(a, b), graph.hasEdge(b, a)); // true false
 * using next = graph.neighbors(a);
 * console.log([a, b, c, d].map((node) => next.cosine(node) > 0.25)); // false true true false
 * ```
 */
export class Graph extends Superposition {
  /** How the nodes of an edge are bound. */
  readonly mode: StructureMode;
  /** Whether an edge leads from its first node to its second. */
  readonly directed: boolean;

  /**
   * Makes a graph without edges.
   *
   * @example
   * ```ts
   * import { Graph } from "tritter-accel";
   *
   * using graph = new Graph(10_000);
   * console.log(graph.directed, graph.size); // false 0
   * ```
   */
  constructor(dim: number, options?: GraphOptions) {
    const { directed = false } = checkOptions(options, "options");
    if (typeof directed !== "boolean") {
      throw tritterError("invalid_type", `directed must be a boolean, got ${describe(directed)}`);
    }
    const mode = checkStructureMode(options);
    super(dim, options);
    this.mode = mode;
    this.directed = directed;
  }

  /**
   * Adds an edge; the same edge may be added several times.
   *
   * @example
   * ```ts
   * import { Graph, Hypervector } from "tritter-accel";
   *
   * using graph = new Graph(1000);
   * graph.addEdge(Hypervector.random(1000, 1), Hypervector.random(1000, 2));
   * console.log(graph.size); // 1
   * ```
   */
  addEdge(from: Hypervector, to: Hypervector): void {
    using edge = this.#edge(from, to);
    this.put(edge);
  }

  /**
   * Removes an edge that was added.
   *
   * Which edges were added is not known: removing others leaves a trace that means nothing. Throws
   * `invalid_value` where there are none.
   *
   * @example
   * ```ts
   * import { Graph, Hypervector } from "tritter-accel";
   *
   * const [a, b] = [Hypervector.random(1000, 1), Hypervector.random(1000, 2)] as const;
   * using graph = new Graph(1000);
   * graph.addEdge(a, b);
   * graph.removeEdge(b, a);
   * console.log(graph.hasEdge(a, b)); // false
   * ```
   */
  removeEdge(from: Hypervector, to: Hypervector): void {
    using edge = this.#edge(from, to);
    this.take(edge);
  }

  /**
   * Returns whether there probably is an edge: the trace holds it more than half a time.
   *
   * @example
   * ```ts
   * import { Graph, Hypervector } from "tritter-accel";
   *
   * const [a, b] = [Hypervector.random(1000, 1), Hypervector.random(1000, 2)] as const;
   * using graph = new Graph(1000);
   * graph.addEdge(a, b);
   * console.log(graph.hasEdge(a, b), graph.hasEdge(a, a)); // true false
   * ```
   */
  hasEdge(from: Hypervector, to: Hypervector): boolean {
    using edge = this.#edge(from, to);
    return this.multiplicity(edge) > 0.5;
  }

  /**
   * Returns the bundle of a node's neighbours, with noise from the other edges.
   *
   * `direction` chooses the ends of its `"outgoing"` or the beginnings of its `"incoming"` edges where
   * the graph is directed. `out` takes the result instead of new memory.
   *
   * @example
   * ```ts
   * import { Graph, Hypervector } from "tritter-accel";
   *
   * const vector = (seed: number) => Hypervector.random(1000, seed, { distribution: "bipolar" });
   * using graph = new Graph(1000, { directed: true });
   * graph.addEdge(vector(1), vector(2));
   * using origin = graph.neighbors(vector(2), { direction: "incoming" });
   * console.log(origin.equals(vector(1))); // true
   * ```
   */
  neighbors(node: Hypervector, options?: NeighborsOptions): Hypervector {
    const { direction, out } = checkOptions(options, "options");
    const wanted = checkChoice(direction, DIRECTIONS, "direction", "outgoing");
    checkVector(node, "node", this.dim);
    const { trace } = this;
    if (!this.directed) return unbindTrace(trace, node, this.mode, out);
    if (wanted === "outgoing") {
      const permuted = unbindTrace(trace, node, this.mode, out);
      return permuted.unpermute(1, { out: permuted });
    }
    const permuted = node.permute(1, { out });
    return unbindTrace(trace, permuted, this.mode, permuted);
  }

  #edge(from: Hypervector, to: Hypervector): Hypervector {
    checkVector(from, "from", this.dim);
    checkVector(to, "to", this.dim);
    if (!this.directed) return from.bind(to, { mode: this.mode });
    return filled(to.permute(1), (edge) => edge.bind(from, { mode: this.mode, out: edge }));
  }
}
