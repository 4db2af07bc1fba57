// OpenBLAS through the runtimes' own FFI, as Debian's libopenblas0-pthread installs it.

import { existsSync } from "node:fs";
import process from "node:process";
import { type Product, type Subject, Unavailable } from "./subject.ts";

/** Where distributions put the threaded library. */
const PATHS = ["x86_64-linux-gnu", "aarch64-linux-gnu"].flatMap((triple) => [
  `/usr/lib/${triple}/openblas-pthread/libopenblas.so.0`,
  `/usr/lib/${triple}/libopenblas.so.0`,
]).concat(
  "/usr/lib64/libopenblasp.so.0",
  "/usr/lib64/libopenblas.so.0",
  "/usr/lib/libopenblas.so",
);

type Kind = "i32" | "f32" | "buffer" | "text" | "nothing";

/** One letter a parameter. */
const KINDS: Record<string, Kind> = { i: "i32", f: "f32", b: "buffer" };

const kindsOf = (letters: string): Kind[] => [...letters].map((letter) => KINDS[letter]!);

const FUNCTIONS: Record<string, readonly [parameters: readonly Kind[], result: Kind]> = {
  // order, trans a, trans b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc
  cblas_sgemm: [kindsOf("iiiiiifbibifbi"), "nothing"],
  // order, trans, m, n, alpha, a, lda, x, incx, beta, y, incy
  cblas_sgemv: [kindsOf("iiiifbibifbi"), "nothing"],
  openblas_set_num_threads: [kindsOf("i"), "nothing"],
  openblas_get_corename: [[], "text"],
  openblas_get_config: [[], "text"],
};

type Functions = Record<string, (...args: unknown[]) => unknown>;

interface DenoFfi {
  dlopen(path: string, table: Record<string, unknown>): { symbols: Functions };
  UnsafePointerView: { getCString(pointer: unknown): string };
}

interface BunFfi {
  dlopen(path: string, table: Record<string, unknown>): { symbols: Functions };
}

function openInDeno(deno: DenoFfi, path: string): Functions {
  const nameOf = { text: "pointer", nothing: "void" } as Record<string, string>;
  const table = Object.entries(FUNCTIONS).map((
    [name, [parameters, result]],
  ) => [name, {
    parameters,
    result: nameOf[result] ?? result,
  }]);
  const { symbols } = deno.dlopen(path, Object.fromEntries(table));
  const texts = ["openblas_get_corename", "openblas_get_config"].map((name) => [
    name,
    () => deno.UnsafePointerView.getCString(symbols[name]!()),
  ]);
  return { ...symbols, ...Object.fromEntries(texts) };
}

function openInBun(path: string): Functions {
  const ffi = (process.getBuiltinModule as (name: string) => unknown)(
    "bun:ffi",
  ) as BunFfi;
  const nameOf = { text: "cstring", nothing: "void", buffer: "ptr" } as Record<
    string,
    string
  >;
  const table = Object.entries(FUNCTIONS).map((
    [name, [parameters, result]],
  ) => [name, {
    args: parameters.map((kind) => nameOf[kind] ?? kind),
    returns: nameOf[result] ?? result,
  }]);
  return ffi.dlopen(path, Object.fromEntries(table)).symbols;
}

let opened: Functions | undefined;

function open(): Functions {
  if (opened !== undefined) return opened;
  const path = PATHS.find((path) => existsSync(path));
  if (path === undefined) {
    throw new Unavailable(
      "OpenBLAS is not installed (Debian's libopenblas0-pthread)",
    );
  }
  const { Deno: deno } = globalThis as { Deno?: DenoFfi };
  try {
    opened = deno === undefined ? openInBun(path) : openInDeno(deno, path);
  } catch (error) {
    throw new Unavailable(
      `OpenBLAS cannot be loaded: ${(error as Error).message}`,
    );
  }
  return opened;
}

/** Version, threads model and the kernels in use, or why there is none. */
export function describeOpenBlas(): string {
  try {
    const { openblas_get_config: config, openblas_get_corename: core } = open();
    const version = /OpenBLAS [\d.]+/.exec(String(config!()))?.[0] ??
      "OpenBLAS";
    return `${version}, ${String(core!())} kernels`;
  } catch (error) {
    return (error as Error).message;
  }
}

const ROW_MAJOR = 101;
const NO_TRANSPOSE = 111;
const TRANSPOSE = 112;

/** The product with fp32 weights: sgemv for one token, sgemm for more. */
export function openBlas(product: Product, threads: number): Subject {
  const { rows, cols, batch, input, weights } = product;
  const {
    cblas_sgemm: sgemm,
    cblas_sgemv: sgemv,
    openblas_set_num_threads: setThreads,
  } = open();
  const output = new Float32Array(batch * rows);
  setThreads!(threads);
  // The order and the transpositions, then the arguments as FUNCTIONS names them.
  const matrix = [ROW_MAJOR, NO_TRANSPOSE, rows, cols, 1, weights, cols] as const;
  const one = () => void sgemv!(...matrix, input, 1, 0, output, 1);
  const matrices = [ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE, batch, rows, cols, 1, input, cols] as const;
  const many = () => void sgemm!(...matrices, weights, cols, 0, output, rows);
  return {
    name: "OpenBLAS fp32",
    threads,
    output,
    run: batch === 1 ? one : many,
  };
}
