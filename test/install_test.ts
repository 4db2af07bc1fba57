/** Installing the package the ways people do, each in an empty folder, and refusing what was tampered with. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync } from "node:fs";
import { readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, delimiter, join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { info } from "../mod.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const binaries = join(root, "node_modules", ".bin");
const system = process.platform === "win32" ? "windows" : process.platform;
const platform = `${system}-${process.arch}`;
const libraryFile = system === "windows"
  ? "tritter.dll"
  : `libtritter.${system === "darwin" ? "dylib" : "so"}`;
const timeout = 300_000;

/** What every installation has to run; the product is [-2, 5]. */
const program = (specifier: string) => `
import { packTernaryWeights, quantizeWeightsAbsmean, ternaryMatmul } from "${specifier}";

const shape: [number, number] = [2, 2];
const weights = Float32Array.of(1, -1, 0.25, 1.75);
const { ternary, scales } = quantizeWeightsAbsmean(weights, shape);
const { packed } = packTernaryWeights(ternary, scales, shape);
const output: Float32Array = ternaryMatmul(Float32Array.of(3, 5), packed, scales, shape);
console.log(output.join(" "));
`;

interface Result {
  status: number | null;
  stdout: string;
  stderr: string;
}

const workplace = mkdtempSync(join(tmpdir(), "tritter-install-"));
const stage = join(workplace, "stage");

/** Runs a program without stopping this process, which may have to serve it. */
function run(
  name: string,
  options: string[],
  cwd: string,
  variables: Record<string, string> = {},
): Promise<Result> {
  const { TRITTER_ACCEL_LIB: _, ...inherited } = process.env;
  const env = {
    ...inherited,
    PATH: [binaries, process.env.PATH].join(delimiter),
    DENO_TLS_CA_STORE: "system",
    NO_COLOR: "1",
    ...variables,
  };
  return new Promise((done, fail) => {
    const child = spawn(name, options, {
      cwd,
      env,
      stdio: ["ignore", "pipe", "pipe"],
      shell: process.platform === "win32",
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => stdout += chunk);
    child.stderr.on("data", (chunk) => stderr += chunk);
    child.on("error", fail);
    child.on("close", (status) => done({ status, stdout, stderr }));
  });
}

async function runWell(...call: Parameters<typeof run>): Promise<string> {
  const { status, stdout, stderr } = await run(...call);
  assert.equal(status, 0, `${call[0]} ${call[1].join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

function emptyFolder(): string {
  return mkdtempSync(join(workplace, "empty-"));
}

/** Copies what gets published, with the library that runs here as the prebuilt one. */
function fillStage(): void {
  const { library } = info();
  mkdirSync(join(stage, "prebuilt", platform), { recursive: true });
  const names = ["mod.ts", "src", "package.json", "tsconfig.json", "tsconfig.build.json"];
  for (const name of names) cpSync(join(root, name), join(stage, name), { recursive: true });
  cpSync(library, join(stage, "prebuilt", platform, libraryFile));
  symlinkSync(join(root, "node_modules"), join(stage, "node_modules"), "junction");
  const bytes = readFileSync(library);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const entry = { [platform]: { file: libraryFile, size: bytes.length, sha256 } };
  const manifest = join(stage, "src", "native", "manifest.ts");
  const text = readFileSync(manifest, "utf8");
  writeFileSync(
    manifest,
    text.replace(/(export const prebuilt[^=]*= )[\s\S]*$/, `$1${JSON.stringify(entry)};\n`),
  );
}

before(fillStage);

after(() => {
  rmSync(workplace, { recursive: true, force: true });
});

/** Serves the stage on this machine; `answer` may replace the bytes of the library, or refuse them. */
async function serve(answer: (library: Uint8Array) => Uint8Array | undefined) {
  let downloads = 0;
  const server = createServer((request, response) => {
    const path = join(stage, decodeURIComponent(new URL(request.url!, "http://x").pathname));
    const isLibrary = basename(path) === libraryFile;
    if (isLibrary) downloads += 1;
    const bytes = existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined;
    const body = isLibrary && bytes ? answer(bytes) : bytes;
    const type = path.endsWith(".ts") ? "application/typescript" : "application/octet-stream";
    response.writeHead(body ? 200 : 404, { "content-type": type });
    response.end(body);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    host,
    downloads: () => downloads,
    close: () => new Promise((done) => server.close(done)),
  };
}

/** Runs the program in Deno, importing from the server, with the permissions that the README names. */
function runFromUrl(host: string, cache: string): Promise<Result> {
  const folder = emptyFolder();
  writeFileSync(join(folder, "main.ts"), program(`http://${host}/mod.ts`));
  return run(
    "deno",
    [
      "run",
      "--no-prompt",
      `--allow-import=${host}`,
      `--allow-net=${host}`,
      "--allow-env=XDG_CACHE_HOME,HOME,LOCALAPPDATA",
      `--allow-read=${cache}`,
      `--allow-write=${cache}`,
      `--allow-ffi=${cache}`,
      "main.ts",
    ],
    folder,
    // Deno's own cache is new as well, or it would not ask the server for the modules.
    {
      HOME: cache,
      XDG_CACHE_HOME: cache,
      LOCALAPPDATA: cache,
      DENO_DIR: join(workplace, `deno-${host.replace(":", "-")}`),
    },
  );
}

/** Every file of the cache, whatever the operating system calls its folders. */
function cachedFiles(cache: string): string[] {
  return readdirSync(cache, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

describe("Deno importing from a URL", { timeout }, () => {
  it("downloads the library once and runs", async () => {
    const server = await serve((library) => library);
    const cache = emptyFolder();
    for (const round of [1, 2]) {
      const { status, stdout, stderr } = await runFromUrl(server.host, cache);
      assert.equal(stdout, "-2 5\n", `round ${round}: ${stderr}`);
      assert.equal(status, 0);
      assert.equal(server.downloads(), 1);
    }
    await server.close();
    assert.deepEqual(cachedFiles(cache).map((path) => basename(path)), [libraryFile]);
  });

  it("refuses a library that was tampered with", async () => {
    const server = await serve((library) =>
      library.map((byte, at) => at === 100 ? byte ^ 1 : byte)
    );
    const cache = emptyFolder();
    const { status, stdout, stderr } = await runFromUrl(server.host, cache);
    await server.close();
    assert.notEqual(status, 0);
    assert.equal(stdout, "");
    assert.match(stderr, /is refused: its SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}/);
    assert.deepEqual(cachedFiles(cache), []);
  });

  it("does not load an altered file of the cache but fetches it anew", async () => {
    const server = await serve((library) => library);
    const cache = emptyFolder();
    await runFromUrl(server.host, cache);
    const [cached] = cachedFiles(cache);
    writeFileSync(cached!, "not a library");
    const { stdout, stderr } = await runFromUrl(server.host, cache);
    await server.close();
    assert.equal(stdout, "-2 5\n", stderr);
    assert.equal(server.downloads(), 2);
  });

  it("reports an altered file of the cache when the server has no other", async () => {
    let isThere = true;
    const server = await serve((library) => isThere ? library : undefined);
    const cache = emptyFolder();
    await runFromUrl(server.host, cache);
    const [cached] = cachedFiles(cache);
    const bytes = readFileSync(cached!);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(cached!, bytes);
    isThere = false;
    const { status, stderr } = await runFromUrl(server.host, cache);
    await server.close();
    assert.notEqual(status, 0);
    assert.match(stderr, /answered 404/);
  });

  it("imports without any permission; the first call says which are needed", async () => {
    const server = await serve((library) => library);
    const folder = emptyFolder();
    writeFileSync(
      join(folder, "main.ts"),
      `import { getThreads, TritterError } from "http://${server.host}/mod.ts";
try {
  getThreads();
} catch (error) {
  if (error instanceof TritterError) console.log(error.code, error.message);
}`,
    );
    const options = ["run", "--no-prompt", `--allow-import=${server.host}`, "main.ts"];
    const stdout = await runWell("deno", options, folder, { DENO_DIR: join(folder, "deno") });
    await server.close();
    assert.match(stdout, /^library_unavailable [\s\S]*--allow-net=127.0.0.1/);
  });
});

describe("Deno on a local checkout", { timeout }, () => {
  it("needs leave to open the library and nothing else", async () => {
    const folder = emptyFolder();
    writeFileSync(join(folder, "main.ts"), program(new URL(`file://${stage}/mod.ts`).href));
    const ffi = `--allow-ffi=${join(stage, "prebuilt", platform, libraryFile)}`;
    assert.equal(await runWell("deno", ["run", "--no-prompt", ffi, "main.ts"], folder), "-2 5\n");
  });
});

/** An empty project; dependencies come from here, so that no test depends on a server far away. */
function emptyProject(): string {
  const folder = emptyFolder();
  const names = ["@huggingface/tokenizers", "yaml"];
  const overrides = Object.fromEntries(
    names.map((name) => [name, `file:${join(root, "node_modules", name)}`]),
  );
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module", overrides }));
  return folder;
}

async function pack(): Promise<string> {
  const tarball = join(workplace, "tritter-accel.tgz");
  if (!existsSync(tarball)) await runWell("bun", ["pm", "pack", "--filename", tarball], stage);
  return tarball;
}

describe("Bun", { timeout }, () => {
  it("runs the package from a tarball", async () => {
    const folder = emptyProject();
    await runWell("bun", ["add", await pack()], folder);
    writeFileSync(join(folder, "main.ts"), program("tritter-accel"));
    assert.equal(await runWell("bun", ["main.ts"], folder), "-2 5\n");
  });

  it("runs the package from a git repository", async () => {
    const git = (...options: string[]) =>
      runWell(
        "git",
        ["-c", "user.name=test", "-c", "user.email=test@localhost", ...options],
        stage,
      );
    await git("init", "--quiet", "--initial-branch=main");
    await git("add", "mod.ts", "src", "prebuilt", "package.json");
    await git("commit", "--quiet", "--message=package");
    const folder = emptyProject();
    await runWell("bun", ["add", `git+file://${stage}`], folder);
    writeFileSync(join(folder, "main.ts"), program("tritter-accel"));
    assert.equal(await runWell("bun", ["main.ts"], folder), "-2 5\n");
  });
});

describe("Deno in a project with node_modules", { timeout }, () => {
  it("runs the package from a tarball with leave to open the library alone", async () => {
    const folder = emptyProject();
    await runWell("bun", ["add", await pack()], folder);
    writeFileSync(join(folder, "main.ts"), program("tritter-accel"));
    const options = ["run", "--no-prompt", "--allow-ffi", "main.ts"];
    assert.equal(await runWell("deno", options, folder), "-2 5\n");
  });
});

describe("a strict TypeScript project", { timeout }, () => {
  it("type-checks against the package, and its mistakes are found", async () => {
    const folder = emptyProject();
    await runWell("bun", ["add", await pack()], folder);
    const compilerOptions = {
      strict: true,
      noUncheckedIndexedAccess: true,
      exactOptionalPropertyTypes: true,
      noUnusedLocals: true,
      target: "esnext",
      module: "nodenext",
      lib: ["esnext", "dom"],
      types: [],
      noEmit: true,
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
    writeFileSync(join(folder, "main.ts"), program("tritter-accel"));
    await runWell("tsc", ["--project", "."], folder);

    writeFileSync(
      join(folder, "main.ts"),
      `import { setThreads } from "tritter-accel";\nsetThreads("two");\n`,
    );
    const { status, stdout } = await run("tsc", ["--project", "."], folder);
    assert.notEqual(status, 0);
    assert.match(stdout, /main\.ts\(2,12\): error TS2345/);
  });
});

describe("JSR", { timeout }, () => {
  it("would accept the package", async () => {
    const options = ["publish", "--dry-run", "--allow-dirty"];
    const { status, stdout, stderr } = await run("deno", options, root);
    assert.equal(status, 0, stdout + stderr);
    assert.match(stderr, /mod\.ts/);
    assert.doesNotMatch(stderr, /warning/i);
  });
});
