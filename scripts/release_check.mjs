// Publishes the packages of a release to a registry on this machine and installs them the ways people do:
// each time an empty project runs the README's example with the least permissions.
import { execFile, spawn } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import { createServer as createSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { checkForeign } from "./release_foreign.mjs";
import { releasePack } from "./release_pack.mjs";
import { ensureInstalled } from "./setup.mjs";
import { capture, environment, fail, root } from "./shell.mjs";

const { version, dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const tools = join(root, "test", "release");
const model = "examples/models/bitnet-jargon";
const platform = `${process.platform}-${process.arch}`;
/** What must be pinned wherever the package is installed. */
const PACKAGES = ["tritter-accel", "tritter-accel-native", `tritter-accel-${platform}`];

/** The example under "Ten lines", as the README has it. */
function readmeExample() {
  const text = readFileSync(join(root, "README.md"), "utf8");
  const section = text.slice(text.indexOf("## Ten lines"));
  return /```ts\n([\s\S]*?)```/.exec(section)[1];
}

/** A port that nobody listens to now. */
function freePort() {
  return new Promise((done) => {
    const socket = createSocket().listen(0, "127.0.0.1", () => {
      const { port } = socket.address();
      socket.close(() => done(port));
    });
  });
}

/** Everything below one folder: projects, caches and what the registry keeps. */
class Workplace {
  constructor(folder, registry) {
    this.folder = folder;
    this.registry = registry;
    const at = (name) => join(folder, name);
    this.env = {
      ...environment,
      HOME: at("home"),
      XDG_CACHE_HOME: at("home/.cache"),
      DENO_DIR: at("deno"),
      BUN_INSTALL_CACHE_DIR: at("bun"),
      npm_config_cache: at("npm"),
      npm_config_userconfig: at("npmrc"),
      NPM_CONFIG_REGISTRY: registry,
      NO_COLOR: "1",
    };
    mkdirSync(at("home"));
    // A registry that anybody may publish to still wants to see a token.
    writeFileSync(at("npmrc"), `//${new URL(registry).host}/:_authToken=anybody\n`);
  }

  /** Runs a program and returns what it printed; ends the check where it fails. */
  run(program, args, cwd) {
    const options = { cwd, env: this.env, maxBuffer: 2 ** 26 };
    return new Promise((done) =>
      execFile(program, args, options, (error, stdout, stderr) => {
        if (error) fail(`${program} ${args.join(" ")}:\n${error.message}\n${stdout}${stderr}`);
        done(stdout);
      })
    );
  }

  /** An empty project with the example and the model that it loads. */
  project(name, files = {}) {
    const folder = join(this.folder, "projects", name);
    mkdirSync(folder, { recursive: true });
    for (const [file, text] of Object.entries({ "main.ts": readmeExample(), ...files })) {
      writeFileSync(join(folder, file), text);
    }
    cpSync(join(root, model), join(folder, model), { recursive: true });
    return folder;
  }
}

/** Starts the registry; packages come from nowhere but here. */
async function startRegistry(folder, port) {
  const config = `storage: ${join(folder, "storage")}
auth: { htpasswd: { file: ${join(folder, "htpasswd")} } }
packages:
  "**": { access: $all, publish: $all }
max_body_size: 100mb
log: { type: stdout, format: pretty, level: error }
`;
  const file = join(folder, "verdaccio.yaml");
  writeFileSync(file, config);
  const program = join(tools, "node_modules", "verdaccio", "bin", "verdaccio");
  const args = [program, "--config", file, "--listen", `127.0.0.1:${port}`];
  const server = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
  process.on("exit", () => server.kill());
  for (let attempt = 0; attempt < 300; attempt += 1) {
    await sleep(100);
    const answer = await fetch(`http://127.0.0.1:${port}/-/ping`).catch(() => undefined);
    if (answer?.ok) return;
  }
  fail("the registry did not start");
}

/** The packages that ours depends on, as they are installed here. */
function packDependencies(folder) {
  return Object.keys(dependencies).map((name) => {
    const args = ["pack", "--silent", "--ignore-scripts", `--pack-destination=${folder}`];
    const printed = capture("npm", [...args, join(root, "node_modules", name)]);
    return join(folder, printed.trim().split("\n").at(-1));
  });
}

async function publish(work, release) {
  const order = JSON.parse(readFileSync(join(release, "npm", "order.json"), "utf8"));
  const tarballs = order.map((name) => join(release, "npm", name));
  for (const tarball of [...packDependencies(work.folder), ...tarballs]) {
    await work.run("npm", ["publish", "--ignore-scripts", "--tag=latest", tarball], work.folder);
  }
  makeOlder(join(work.folder, "storage"));
}

/** Deno installs nothing that was published within the last day. */
function makeOlder(storage) {
  const time = /"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"/g;
  for (const entry of readdirSync(storage, { recursive: true, withFileTypes: true })) {
    if (entry.name !== "package.json") continue;
    const file = join(entry.parentPath, entry.name);
    writeFileSync(file, readFileSync(file, "utf8").replaceAll(time, `"2026-01-01T00:00:00.000Z"`));
  }
}

/** The lock file must have a SHA-512 beside the name of every one of our packages. */
function checkLock(file) {
  const lines = readFileSync(file, "utf8").split("\n");
  for (const name of PACKAGES) {
    // The hash stands in the same line (Bun), or a few lines below the name (npm, Deno).
    const pinned = lines.some((line, at) =>
      new RegExp(`["/]${name}(@${version})?"`).test(line) &&
      /sha512-[A-Za-z0-9+/]{86}==/.test(lines.slice(at, at + 6).join(" "))
    );
    if (!pinned) fail(`${file} has no sha512 for ${name}`);
  }
}

/** The libraries of other platforms must not be there. */
function checkInstalled(folder, expected = PACKAGES) {
  // Deno's cache has a folder for each version, and for packages that it only knows of none.
  const pattern = new RegExp(`/(tritter-accel[\\w-]*)/(?:${version}/)?package\\.json$`);
  const found = readdirSync(folder, { recursive: true })
    .map((name) => pattern.exec(`/${name.replaceAll("\\", "/")}`)?.[1]);
  const installed = [...new Set(found)].filter((name) => name !== undefined);
  if (installed.toSorted().join() !== expected.toSorted().join()) {
    fail(`${folder} holds ${installed}, expected ${expected}`);
  }
}

/** Every way to install; each returns what the example printed, or a list of that. */
const WAYS = {
  async "bun add"(work) {
    const folder = work.project("bun", { "package.json": "{}" });
    await work.run("bun", ["add", "tritter-accel"], folder);
    checkLock(join(folder, "bun.lock"));
    checkInstalled(join(folder, "node_modules"));
    await checkCommand(work, "bunx", ["--bun", "tritter-accel"], folder);
    return work.run("bun", ["main.ts"], folder);
  },
  async "npm install, run by Node and by Deno"(work) {
    const folder = work.project("npm", { "package.json": `{ "type": "module" }` });
    await work.run("npm", ["install", "tritter-accel"], folder);
    checkLock(join(folder, "package-lock.json"));
    checkInstalled(join(folder, "node_modules"));
    const node = join(tools, "node_modules", ".bin", "node");
    await checkCommand(work, node, ["node_modules/tritter-accel/dist/src/cli/main.js"], folder);
    const library = join(folder, "node_modules", PACKAGES[2]);
    const permissions = ["--permission", "--allow-ffi", `--allow-fs-read=${folder}`];
    const deno = ["run", "--no-prompt", `--allow-ffi=${library}`];
    return [
      await work.run(node, [...permissions, "main.ts"], folder),
      await work.run("deno", [...deno, "main.ts"], folder),
    ];
  },
  async "deno add npm:"(work) {
    const folder = work.project("deno", { "deno.json": "{}" });
    await work.run("deno", ["add", "npm:tritter-accel"], folder);
    const ffi = `--allow-ffi=${join(work.env.DENO_DIR, "npm")}`;
    const printed = await work.run("deno", ["run", "--no-prompt", ffi, "main.ts"], folder);
    checkLock(join(folder, "deno.lock"));
    // Deno does not look at the C library: it has both, and the loader opens the one that fits.
    const both = platform === "linux-x64"
      ? [...PACKAGES, "tritter-accel-linux-x64-musl"]
      : PACKAGES;
    checkInstalled(join(work.env.DENO_DIR, "npm"), both);
    await checkCommand(work, "deno", ["run", "--no-prompt", ffi, "npm:tritter-accel"], folder);
    return printed;
  },
  async "Deno URL import"(work, release) {
    const server = createServer((request, response) => {
      const path = join(release, "jsr", new URL(request.url, "http://x").pathname);
      response.writeHead(200, { "content-type": "application/typescript" });
      response.end(readFileSync(path));
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    const host = `127.0.0.1:${server.address().port}`;
    const imports = {
      "tritter-accel": `http://${host}/mod.ts`,
      "tritter-accel-native": `npm:tritter-accel-native@${version}`,
    };
    const folder = work.project("url", { "deno.json": JSON.stringify({ imports }) });
    const ffi = `--allow-ffi=${join(work.env.DENO_DIR, "npm")}`;
    const flags = ["--no-prompt", `--allow-import=${host}`, ffi];
    const printed = await work.run("deno", ["run", ...flags, "main.ts"], folder);
    const lock = readFileSync(join(folder, "deno.lock"), "utf8");
    if (!/mod\.ts": "[0-9a-f]{64}"/.test(lock)) fail("deno.lock has no hash of mod.ts");
    server.close();
    return printed;
  },
  async "bun build --compile"(work) {
    const folder = work.project("compile", { "package.json": "{}" });
    await work.run("bun", ["add", "tritter-accel"], folder);
    await work.run("bun", ["build", "--compile", "main.ts", "--outfile", "program"], folder);
    const elsewhere = work.project("compiled");
    cpSync(join(folder, "program"), join(elsewhere, "program"));
    rmSync(folder, { recursive: true });
    return work.run(join(elsewhere, "program"), [], elsewhere);
  },
};

async function checkCommand(work, program, args, folder) {
  const found = JSON.parse(await work.run(program, [...args, "info", "--json"], folder));
  if (!found.library.includes(PACKAGES[2])) fail(`${program} loaded ${found.library}`);
}

/** What the example prints in this checkout. */
function runHere(work) {
  const file = join(work.folder, "here.ts");
  writeFileSync(file, readmeExample().replace(`"tritter-accel"`, `"${join(root, "mod.ts")}"`));
  return work.run("bun", [file], root);
}

/** Packs twice, publishes, installs in every way, and has JSR's own check look at its package. */
export async function releaseCheck() {
  ensureInstalled(tools);
  const folder = mkdtempSync(join(tmpdir(), "tritter-release-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const [release, again] = ["release", "again"].map((name) =>
    releasePack("--version", version, "--out", join(folder, name))
  );
  const sums = (path) => readFileSync(join(path, "SHA256SUMS"), "utf8");
  if (sums(release) !== sums(again)) fail("packing again gave other bytes");
  console.log("packing again gave the same bytes");
  const port = await freePort();
  await startRegistry(folder, port);
  const work = new Workplace(folder, `http://127.0.0.1:${port}/`);
  await publish(work, release);
  console.log("published to a registry on this machine");
  const expected = await runHere(work);
  for (const [name, install] of Object.entries(WAYS)) {
    const started = performance.now();
    const printed = await install(work, release);
    for (const text of [printed].flat()) {
      if (text !== expected) fail(`${name}: the example printed\n${text}\nnot\n${expected}`);
    }
    console.log(`${name}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
  }
  await work.run("deno", ["publish", "--dry-run", "--allow-dirty"], join(release, "jsr"));
  console.log("deno publish --dry-run is clean");
  checkForeign({ npm: join(release, "npm"), version }, join(folder, "foreign"));
  // The registry would keep this process alive.
  process.exit(0);
}
