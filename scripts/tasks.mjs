// What the scripts of package.json do: one function each.
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { checkExports } from "./check_exports.mjs";
import { compile, ensureLibrary } from "./compile.mjs";
import { testWithCoverage } from "./coverage.mjs";
import { checkStale, fatbin } from "./cuda.mjs";
import { checkManifests, checkPrebuilt, prebuild } from "./prebuild.mjs";
import { releaseCheck } from "./release_check.mjs";
import { releasePack } from "./release_pack.mjs";
import { ensurePeers, setup } from "./setup.mjs";
import { fail, root, run } from "./shell.mjs";
import { zig } from "./toolchain.mjs";

const generateSymbols = (...options) => run("bun", ["scripts/generate_symbols.ts", ...options]);

function benchmarks() {
  return readdirSync(join(root, "bench")).filter((name) => name.endsWith(".bench.ts"))
    .map((name) => `bench/${name}`);
}

/** Examples that need more of Deno than the library, and what makes them quick. */
const EXAMPLES = {
  "language_id.ts": {
    flags: ["--allow-run=apt-get,dpkg-deb", "--allow-env", "--allow-read", "--allow-write"],
    options: ["--quick"],
  },
  "predicted_gradients.ts": {
    flags: ["--allow-env", "--allow-read", "--allow-write"],
    options: ["--quick"],
  },
  "train_distributed.ts": {
    flags: ["--allow-run=apt-get,dpkg-deb", "--allow-env", "--allow-read", "--allow-write"],
    options: ["--quick"],
  },
  "train_bitnet.ts": {
    flags: ["--allow-run=apt-get,dpkg-deb", "--allow-env", "--allow-read", "--allow-write"],
    options: ["--quick"],
  },
};

const tasks = {
  /** Sets everything up and runs the main job. */
  start(...options) {
    setup();
    ensureLibrary();
    run("bun", ["examples/generate.ts", ...options]);
  },
  /**
   * Sets everything up and runs the tests on both runtimes, and judges how much of src/ they execute;
   * names of test files restrict them.
   */
  test(...files) {
    setup();
    ensureLibrary();
    if (files.length > 0) run("deno", ["test", "-A", ...files]);
    else testWithCoverage();
    run("bun", ["test", "--timeout=600000", ...(files.length > 0 ? files : ["test/"])]);
    if (files.length === 0) run("deno", ["test", "-A", "--doc", "mod.ts", "src/"]);
  },
  /** Runs every example on both runtimes. */
  examples() {
    setup();
    ensureLibrary();
    const programs = readdirSync(join(root, "examples")).filter((name) => name.endsWith(".ts"));
    for (const program of programs) {
      const { flags = [], options = [] } = EXAMPLES[program] ?? {};
      run("bun", [`examples/${program}`, ...options]);
      // What the README says that Deno needs, and no more.
      run("deno", [
        ...["run", "--allow-ffi", "--no-prompt", ...flags],
        ...[`examples/${program}`, ...options],
      ]);
    }
    run("deno", ["task", "demo"]);
  },
  /** Builds the native library of this machine into zig-out/. */
  compile() {
    setup();
    generateSymbols();
    compile();
  },
  /** Compiles the CUDA kernels into cuda/kernels.fatbin; with --check compares instead. */
  fatbin(...options) {
    fatbin(...options);
  },
  /** Builds the libraries of all platforms into prebuilt/; with --check compares instead. */
  prebuild(option) {
    setup();
    if (option === "--check") return checkPrebuilt();
    generateSymbols();
    prebuild();
    checkExports();
  },
  /** Generates src/native/symbols.ts. */
  symbols(...options) {
    setup();
    generateSymbols(...options);
  },
  /** Everything that can be found without running the library. */
  check() {
    setup();
    run("deno", ["fmt", "--check"]);
    run("deno", ["lint"]);
    run("tsc", ["--project", "tsconfig.json"]);
    run("deno", ["doc", "--lint", "mod.ts"]);
    run(zig(), ["fmt", "--check", "build.zig", "lib"]);
    generateSymbols("--check");
    checkStale();
    run("bun", ["bench/report/readme.ts", "--check"]);
  },
  /** What the committed libraries must be: described by their manifests, and complete. */
  "check-prebuilt"() {
    checkManifests();
    checkExports();
  },
  /** Makes the packages of a release. */
  "release-pack"(...options) {
    setup();
    releasePack(...options);
  },
  /** Publishes the packages of a release on this machine and installs them the ways people do. */
  async "release-check"() {
    setup();
    await releaseCheck();
  },
  /** Writes the documentation of everything public as HTML. */
  docs() {
    setup();
    rmSync(join(root, "docs"), { recursive: true, force: true });
    run("deno", ["doc", "--html", "--name=tritter-accel", "--output=docs", "mod.ts"]);
  },
  /** Measures everything next to its peers and limits, and prints or (--write) keeps the report. */
  bench(...options) {
    setup();
    ensureLibrary();
    ensurePeers();
    run("bun", ["bench/report/main.ts", ...options]);
  },
  /** Runs the mitata benchmarks on both runtimes; names of files restrict them. */
  "bench-mitata"(...files) {
    setup();
    ensureLibrary();
    for (const file of files.length > 0 ? files : benchmarks()) {
      if (!existsSync(join(root, file))) fail(`there is no ${file}`);
      run("bun", [file]);
      run("deno", ["run", "-A", file]);
    }
  },
};

const [name, ...options] = process.argv.slice(2);
if (!Object.hasOwn(tasks, name ?? "")) {
  fail(`there is no task "${name ?? ""}"; known are ${Object.keys(tasks).join(", ")}`);
}
await tasks[name](...options);
