// The tables of README.md about GPUs and about what the crate and its kin claim, from measurements.
//
//   bun bench/report/claims.ts rows.jsonl   takes over what scripts/test_cuda.sh noted, as bench/cuda.json
//   bun bench/report/claims.ts --measure    measures what codecs keep of gradients, as bench/compression.json

import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { compressionStats, createCodec, Safetensors } from "../../mod.ts";
import { table } from "./markdown.ts";
import { digits, type Report, times } from "./report.ts";

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const CUDA = file("../cuda.json");
const COMPRESSION = file("../compression.json");

type CudaRow = { name: string } & Record<string, number>;
interface CudaReport {
  date: string;
  device: string;
  rows: CudaRow[];
}
type Compression = { ratio: number; cosines: number[] }[];

function read<T>(path: string): T {
  return JSON.parse(readFileSync(path, "utf8")) as T;
}

/** All tensors of the gradients of a step, one after the other. */
function gradientsOf(step: number): Float32Array {
  using tensors = Safetensors.open(
    file(`../../test/fixtures/gradients/step-${step}.safetensors`),
  );
  const parts = [...tensors.names].map((name) => tensors.readFloat32(name));
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

function measureCompression(): void {
  const all = [50, 500, 1500].map(gradientsOf);
  const measured: Compression = [10, 20, 100].map((ratio) => ({
    ratio,
    cosines: all.map((gradients) => {
      const codec = createCodec("entropy", { ratio });
      const bytes = codec.compress(gradients);
      const { cosine } = compressionStats(
        gradients,
        codec.decompress(bytes),
        bytes.length,
      );
      return Number(cosine.toFixed(4));
    }),
  }));
  writeFileSync(COMPRESSION, JSON.stringify(measured, null, 1) + "\n");
}

function takeOver(path: string): void {
  const lines = readFileSync(path, "utf8").trim().split("\n");
  const rows = lines.map((line) => JSON.parse(line) as CudaRow);
  const device = rows.find(({ name }) => name === "device") as unknown as {
    device: string;
  };
  const report: CudaReport = {
    date: new Date().toISOString().slice(0, 10),
    device: device.device,
    rows: rows.filter(({ name }) => name !== "device"),
  };
  writeFileSync(CUDA, JSON.stringify(report, null, 1) + "\n");
}

/** A row of bench/cuda.json, which must be there. */
function cudaRow({ rows }: CudaReport, name: string): CudaRow {
  const found = rows.find((row) => row.name === name);
  if (found === undefined) {
    throw new Error(`bench/cuda.json has no row "${name}"`);
  }
  return found;
}

function productLine(
  report: CudaReport,
  kind: string,
  shape: string,
  count: number,
): string[] {
  const row = cudaRow(report, `product: ${kind} ${shape} M=${count}`);
  return [
    `${kind}, ${shape.replace("x", " x ")}, ${count === 1 ? "one token" : `${count} tokens`}`,
    `${digits(row["us"]!)} µs`,
    `${times(row["fp32_us"]! / row["us"]!)} cuBLAS fp32, ${
      times(row["bf16_us"]! / row["us"]!)
    } cuBLAS bf16`,
  ];
}

function vectorLine(report: CudaReport, name: string, what: string): string[] {
  const { us, floor_us, cpu_us } = cudaRow(report, `hypervectors: ${name}`);
  const share = floor_us ? `${Math.round(100 * floor_us / us!)} % of 2.9 TB/s, ` : "";
  return [
    what,
    `${digits(us!)} µs`,
    `${share}${times(cpu_us! / us!)} the CPU's 16 cores`,
  ];
}

/** What a GPU reaches: the lines between the markers. */
export function cudaTable(): string {
  const report = read<CudaReport>(CUDA);
  const tokens = (name: string, what: string) => {
    const { us, tokens_per_second } = cudaRow(report, `model: ${name}`);
    return [
      what,
      `${digits(us! / 1000)} ms`,
      `${digits(tokens_per_second!)} tokens a second`,
    ];
  };
  const body = [
    productLine(report, "int8", "4096x4096", 1),
    productLine(report, "int8", "14336x4096", 1),
    productLine(report, "int8", "14336x4096", 32),
    productLine(report, "int8", "14336x4096", 4096),
    productLine(report, "f32", "14336x4096", 1),
    tokens("decoding after 16", "BitNet-2B-4T's shape, a token"),
    tokens("prompt of 2048", "the same, a prompt of 2,048 tokens"),
    vectorLine(report, "bind", "bind 65,536 vectors of 10,240"),
    vectorLine(report, "bundle(16)", "bundle them in sixteens"),
    vectorLine(
      report,
      "Hamming search, 1 query, k = 10",
      "the ten nearest to one",
    ),
    vectorLine(
      report,
      "Hamming search, 1,024 queries",
      "the ten nearest to each of 1,024",
    ),
  ];
  return [
    table([report.device, "time", "that is"], body),
    `Products are kernels by themselves, the rest are calls through the API; ${report.date}.`,
  ].join("\n\n");
}

/** Claims beside what came of them: the lines between the markers. */
export function claimsTable({ processes }: Report): string {
  const cuda = read<CudaReport>(CUDA);
  const { rows } = processes.find(({ forced, runtime }) => !forced && runtime.startsWith("Bun"))!;
  const row = (name: string, activations?: string, peer?: string) => {
    const found = rows.find((row) =>
      row.subject === "tritter-accel" && row.name === name &&
      (activations === undefined || row.activations === activations) &&
      (peer === undefined || row.peer === peer)
    );
    if (found === undefined) {
      throw new Error(`bench/report.json has no row "${name}"`);
    }
    return found;
  };
  const product = "4096 x 4096, batch 1";
  const blas = (activations: string) => times(row(product, activations, "OpenBLAS fp32").ratio!);
  const gpu = (kind: string) => {
    const { us, fp32_us } = cudaRow(cuda, `product: ${kind} 14336x4096 M=1`);
    return times(fp32_us! / us!);
  };
  const kept = read<Compression>(COMPRESSION).map(({ ratio, cosines }) =>
    `at least ${Math.min(...cosines).toFixed(4)} at ${ratio}x`
  );
  const overCpu = (name: string) => {
    const { us, cpu_us } = cudaRow(cuda, `hypervectors: ${name}`);
    return times(cpu_us! / us!);
  };
  const tritsPerSecond = (name: string, trits: number) =>
    `${digits(trits / 1000 / row(name).median_us)} billion`;
  return table(["claimed", "measured"], [
    [
      "CPU product 2x as fast as fp32",
      `${blas("f32")} (f32 activations) and ${blas("int8")} (int8) OpenBLAS fp32, ${product}`,
    ],
    [
      "GPU product 4x as fast as fp32",
      `${gpu("f32")} (f32) and ${gpu("int8")} (int8) cuBLAS fp32, 14336 x 4096, batch 1`,
    ],
    [
      "16x less memory",
      `${times(row("4096 x 4096, fp32 over ternary").ratio!)}, with the scales of 4096 rows`,
    ],
    [
      "gradients 10x to 100x smaller with less than 5 % loss of cosine",
      `real gradients keep a cosine of ${kept.join(", ")} (\`entropy\`, true bytes); the crate's ` +
      "random projection keeps 0.3 at 10x, and no linear one can keep more",
    ],
    [
      "GPU bind and bundle 10x the CPU at 10,000 dimensions",
      `${overCpu("bind")} and ${
        overCpu("bundle(16)")
      } our own kernels on 16 cores, 65,536 vectors ` +
      "at once; a single vector is faster on the CPU than a launch on a GPU",
    ],
    [
      "trits a second at 10,000 dimensions: dot 50, bind 40, bundle of three 30 million",
      [
        `dot ${tritsPerSecond("dot of two vectors of 10,000", 10_000)}`,
        `bind ${tritsPerSecond("bind two vectors of 10,000", 10_000)}`,
        `bundle of three ${tritsPerSecond("bundle 3 vectors of 10,000, call taken off", 10_000)}`,
      ].join(", "),
    ],
    [
      "80 % fewer backward passes, training 2.9x as fast",
      "65 % fewer, and worse than plain training with as many: see the table above",
    ],
    [
      "zero-copy",
      `buffers cross as pointers; a call on 64 x 64 takes ${
        Math.round(row("64 x 64, batch 1, hot call").median_us * 1000)
      } ns in all`,
    ],
  ]);
}

if (import.meta.main) {
  const [what] = process.argv.slice(2);
  if (what === "--measure") measureCompression();
  else if (what !== undefined) takeOver(what);
}
