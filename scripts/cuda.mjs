// Compiles cuda/*.cu into cuda/kernels.fatbin, which build.zig embeds in the library.
//
//   node scripts/cuda.mjs           compiles, and writes kernels.fatbin and kernels.txt
//   node scripts/cuda.mjs --check   compiles, and fails unless both are what is committed
//   node scripts/cuda.mjs --stale   fails when the sources are not those of the committed fat binary
//   node scripts/cuda.mjs --arch 90 --out FILE   one architecture only, for development
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { capture, fail, root, run } from "./shell.mjs";
import { installFromPypi } from "./toolchain.mjs";

const requirements = join(root, "scripts", "toolchain_cuda.txt");

/** The pinned version, as in "13.0.88". */
const nvccVersion = /^nvidia-cuda-nvcc==(\S+)/m.exec(readFileSync(requirements, "utf8"))[1];

/** Machine code for these compute capabilities, and PTX of the first for all that come. */
const ARCHITECTURES = ["80", "86", "89", "90a", "100", "120"];

const folder = join(root, "cuda");
const fatbinFile = join(folder, "kernels.fatbin");
const listFile = join(folder, "kernels.txt");

function versionOf(program) {
  return /release [\d.]+, V([\d.]+)/.exec(capture(program, ["--version"]) ?? "")?.[1];
}

/** The pinned nvcc: one already on the machine if it is the same version, or from PyPI. */
function nvcc() {
  const found = [process.env.NVCC, "nvcc"].find((name) => name && versionOf(name) === nvccVersion);
  if (found) return found;
  if (process.platform !== "linux" || process.arch !== "x64") {
    fail(`compiling the CUDA kernels needs Linux on x86-64, or nvcc ${nvccVersion} on the PATH`);
  }
  const installed = installFromPypi(`cuda-${nvccVersion}`, requirements);
  return join(installed, "nvidia", "cu13", "bin", "nvcc");
}

/** One hash over the sources, their compiler and what they are compiled for. */
function hashKernels() {
  const hash = createHash("sha256").update(`${nvccVersion} ${ARCHITECTURES}\n`);
  for (const name of readdirSync(folder).filter((name) => /\.cuh?$/.test(name)).sort()) {
    const digest = createHash("sha256").update(readFileSync(join(folder, name))).digest("hex");
    hash.update(`${name} ${digest}\n`);
  }
  return hash.digest("hex");
}

function compileTo(compiler, target, kind, codes) {
  run(compiler, [
    ...["-std=c++17", "-O3", kind, "--threads=0", "-compress-mode=size", "--output-file", target],
    ...codes.map(([virtual, real]) => `-gencode=arch=compute_${virtual},code=${real}`),
    "cuda/kernels.cu",
  ]);
}

/** Every kernel with the size of its arguments, as the PTX declares them. */
function listKernels(ptx) {
  const lines = [...ptx.matchAll(/\.entry (\w+)\(\s*([^)]*)\)/g)].map(([, name, parameters]) => {
    const size = /^\.param \.align \d+ \.b8 \w+\[(\d+)\]\s*$/.exec(parameters);
    if (!size) fail(`the kernel ${name} must take one structure, takes ${parameters}`);
    return `${name} ${size[1]}`;
  });
  return lines.sort();
}

/** Builds both files in memory. */
function build() {
  const compiler = nvcc();
  const work = mkdtempSync(join(tmpdir(), "tritter-cuda-"));
  process.on("exit", () => rmSync(work, { recursive: true, force: true }));
  const codes = ARCHITECTURES.map((arch) => [arch, `sm_${arch}`]);
  compileTo(compiler, join(work, "kernels.fatbin"), "-fatbin", [...codes, ["80", "compute_80"]]);
  compileTo(compiler, join(work, "kernels.ptx"), "-ptx", [["80", "compute_80"]]);
  const fatbin = readFileSync(join(work, "kernels.fatbin"));
  const lines = listKernels(readFileSync(join(work, "kernels.ptx"), "utf8"));
  const list = [
    `sources ${hashKernels()}`,
    `fatbin ${createHash("sha256").update(fatbin).digest("hex")}`,
    ...lines,
  ];
  return { fatbin, list: `${list.join("\n")}\n` };
}

/** Fails when kernels.fatbin was compiled from other sources; needs no compiler. */
export function checkStale() {
  const list = existsSync(listFile) ? readFileSync(listFile, "utf8").split("\n") : [];
  const digest = createHash("sha256").update(readFileSync(fatbinFile)).digest("hex");
  if (list[0] !== `sources ${hashKernels()}` || list[1] !== `fatbin ${digest}`) {
    fail("cuda/kernels.fatbin is not of these sources: run npm run fatbin");
  }
}

/** Compiles; with --check compares with what is committed instead of writing. */
export function fatbin(...options) {
  if (options.includes("--stale")) return checkStale();
  if (options.includes("--arch")) {
    const arch = options[options.indexOf("--arch") + 1];
    const out = options[options.indexOf("--out") + 1];
    return compileTo(nvcc(), out, "-fatbin", [[arch, `sm_${arch}`]]);
  }
  const built = build();
  if (options.includes("--check")) {
    if (
      readFileSync(listFile, "utf8") !== built.list ||
      !readFileSync(fatbinFile).equals(built.fatbin)
    ) {
      fail("cuda/kernels.fatbin is not what the sources compile to: run npm run fatbin");
    }
    return console.log("cuda/kernels.fatbin is what the sources compile to, byte for byte");
  }
  writeFileSync(fatbinFile, built.fatbin);
  writeFileSync(listFile, built.list);
  console.log(`cuda/kernels.fatbin: ${built.fatbin.length} bytes`);
}
