// The functions of the library that operations on vectors call, by where the vectors are.

import type { Place } from "../device.ts";
import { native, type NativeLibrary } from "../native/library.ts";

/** What both the CPU and CUDA devices do, by the same arguments. */
type Shared =
  | "bind"
  | "bind_many"
  | "bind_rows"
  | "bundle"
  | "bundle_rows"
  | "copy"
  | "count"
  | "count_rows"
  | "equal"
  | "negate"
  | "random"
  | "rotate"
  | "similarity"
  | "similarity_matrix"
  | "top_k";

/** Functions of the library by name. */
export type VectorCalls = { readonly [N in Shared]: NativeLibrary[`vectors_${N}`] };

// Getters, as without a library the first use fails and not the import.
const onCpu: VectorCalls = {
  get bind() {
    return native.vectors_bind;
  },
  get bind_many() {
    return native.vectors_bind_many;
  },
  get bind_rows() {
    return native.vectors_bind_rows;
  },
  get bundle() {
    return native.vectors_bundle;
  },
  get bundle_rows() {
    return native.vectors_bundle_rows;
  },
  get copy() {
    return native.vectors_copy;
  },
  get count() {
    return native.vectors_count;
  },
  get count_rows() {
    return native.vectors_count_rows;
  },
  get equal() {
    return native.vectors_equal;
  },
  get negate() {
    return native.vectors_negate;
  },
  get random() {
    return native.vectors_random;
  },
  get rotate() {
    return native.vectors_rotate;
  },
  get similarity() {
    return native.vectors_similarity;
  },
  get similarity_matrix() {
    return native.vectors_similarity_matrix;
  },
  get top_k() {
    return native.vectors_top_k;
  },
};

const onCuda: VectorCalls = {
  get bind() {
    return native.cuda_vectors_bind;
  },
  get bind_many() {
    return native.cuda_vectors_bind_many;
  },
  get bind_rows() {
    return native.cuda_vectors_bind_rows;
  },
  get bundle() {
    return native.cuda_vectors_bundle;
  },
  get bundle_rows() {
    return native.cuda_vectors_bundle_rows;
  },
  get copy() {
    return native.cuda_vectors_copy;
  },
  get count() {
    return native.cuda_vectors_count;
  },
  get count_rows() {
    return native.cuda_vectors_count_rows;
  },
  get equal() {
    return native.cuda_vectors_equal;
  },
  get negate() {
    return native.cuda_vectors_negate;
  },
  get random() {
    return native.cuda_vectors_random;
  },
  get rotate() {
    return native.cuda_vectors_rotate;
  },
  get similarity() {
    return native.cuda_vectors_similarity;
  },
  get similarity_matrix() {
    return native.cuda_vectors_similarity_matrix;
  },
  get top_k() {
    return native.cuda_vectors_top_k;
  },
};

/** The functions for vectors that are somewhere. */
export function callsAt(place: Place): VectorCalls {
  return place === "cpu" ? onCpu : onCuda;
}
