// Binding by places.

import { merge, shared, without } from "./sorted_places.ts";
import type { SparsePlaces } from "./sparse_trits.ts";

/** The products of the trits. */
function multiply(a: SparsePlaces, b: SparsePlaces): SparsePlaces {
  return {
    positive: merge(shared(a.positive, b.positive), shared(a.negative, b.negative)),
    negative: merge(shared(a.positive, b.negative), shared(a.negative, b.positive)),
  };
}

/** The sums of the trits modulo 3: 1 + 1 = -1, and what one has alone stays. */
function add(a: SparsePlaces, b: SparsePlaces): SparsePlaces {
  const [inA, inB] = [a, b].map(({ positive, negative }) => merge(positive, negative));
  const alone = (x: SparsePlaces["positive"], y: SparsePlaces["positive"]) =>
    merge(without(x, inB!), without(y, inA!));
  return {
    positive: merge(alone(a.positive, b.positive), shared(a.negative, b.negative)),
    negative: merge(alone(a.negative, b.negative), shared(a.positive, b.positive)),
  };
}

/** a + b (0) or a - b (1), both modulo 3, or a * b (2): the numbers of `bindOperation`. */
export function bindPlaces(a: SparsePlaces, b: SparsePlaces, operation: number): SparsePlaces {
  if (operation === 2) return multiply(a, b);
  return add(a, operation === 0 ? b : { positive: b.negative, negative: b.positive });
}
