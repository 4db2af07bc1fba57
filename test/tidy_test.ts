/** The house rules that a program can check: who may import whom, how long a file gets, what text may say. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const binaries = join(root, "node_modules", ".bin");
const env = { ...process.env, PATH: [binaries, process.env.PATH].join(delimiter) };

/** Everything that is committed or about to be. */
function listFiles(): string[] {
  const options = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const result = spawnSync("git", options, { cwd: root, encoding: "utf8", maxBuffer: 2 ** 26 });
  assert.equal(result.status, 0, `git ls-files failed: ${result.stderr}`);
  // A file that has been deleted but not yet committed is still listed.
  return result.stdout.split("\0")
    .filter((name) => name && statSync(join(root, name), { throwIfNoEntry: false })?.isFile());
}

const files = listFiles();
const read = (name: string) => readFileSync(join(root, name), "utf8");
const isData = (name: string) => /^(examples\/models|test\/fixtures|prebuilt)\//.test(name);
const isGenerated = (name: string) =>
  ["package-lock.json", "src/native/symbols.ts", "src/native/manifest.ts"].includes(name);

/** Files of text; a byte of zero gives a binary away. */
const texts = files.map((name) => ({ name, text: read(name) }))
  .filter(({ text }) => !text.includes("\0"));

/** The floors of the house from the ground up; a file may import its own floor and those below. */
const FLOORS: readonly (readonly string[])[] = [
  ["src/errors"],
  ["src/checks"],
  ["src/native"],
  ["src/device"],
  ["src/limits"],
  ["src/tensor"],
  ["src/packing", "src/quantization"],
  ["src/matmul", "src/vsa", "src/gradients", "src/formats"],
  ["src/nn"],
  ["src/inference", "src/training", "src/distributed"],
  ["mod"],
  ["src/cli"],
];

function floorOf(name: string): number {
  const capability = name.replace(/\.ts$/, "").split("/").slice(0, 2).join("/");
  const floor = FLOORS.findIndex((capabilities) => capabilities.includes(capability));
  assert.notEqual(floor, -1, `${name} belongs to no floor`);
  return floor;
}

/** Everything that a TypeScript file imports or re-exports, without the examples in its comments. */
function importsOf(name: string): string[] {
  const code = read(name).replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  const pattern = /(?:\bfrom\s+|\bimport\s+|\bimport\(\s*)["']([^"']+)["']/g;
  return [...code.matchAll(pattern)].map((match) => match[1]!);
}

/** Resolves a relative import to a path from the root of the repository. */
function resolve(from: string, specifier: string): string {
  return fileURLToPath(new URL(specifier, new URL(from, "file:///")).href).slice(1);
}

const sources = files.filter((name) => name === "mod.ts" || /^src\/.*\.ts$/.test(name));
const edges = new Map(sources.map((name) => [
  name,
  importsOf(name).filter((specifier) => specifier.startsWith("."))
    .map((specifier) => resolve(name, specifier)),
]));

describe("imports", () => {
  it("reads the imports of the sources", () => {
    assert.ok(edges.get("mod.ts")!.length > 5);
    assert.ok(edges.get("src/checks.ts")!.includes("src/errors.ts"));
  });

  it("never go upward", () => {
    for (const [name, targets] of edges) {
      for (const target of targets) {
        assert.ok(floorOf(target) <= floorOf(name), `${name} imports ${target}, which is above it`);
      }
    }
  });

  it("make no circle", () => {
    const finished = new Set<string>();
    const visit = (name: string, path: string[]): void => {
      assert.ok(!path.includes(name), `circle: ${[...path, name].join(" -> ")}`);
      if (finished.has(name)) return;
      for (const target of edges.get(name) ?? []) visit(target, [...path, name]);
      finished.add(name);
    };
    for (const name of edges.keys()) visit(name, []);
  });

  it("name no package but the standard modules of Node, the libraries, the tokenizers and YAML", () => {
    const allowed =
      /^(\.|node:|tritter-accel-native$|(npm:)?(@huggingface\/tokenizers|yaml)(@[\d.]+)?$)/;
    for (const name of sources) {
      for (const specifier of importsOf(name)) {
        assert.match(specifier, allowed, `${name} imports ${specifier}`);
      }
    }
  });

  it("of tests, benchmarks and examples know the public face only", () => {
    // This one calls the native functions directly, because what they refuse is its subject.
    const exceptions = ["test/abuse_test.ts"];
    const proofs = files.filter((name) => /^(test|bench|examples)\/.*\.ts$/.test(name))
      .filter((name) => !exceptions.includes(name));
    for (const name of proofs) {
      for (const specifier of importsOf(name).filter((specifier) => specifier.startsWith("."))) {
        const target = resolve(name, specifier);
        assert.doesNotMatch(target, /^(src|lib)\//, `${name} imports ${target}`);
      }
    }
  });
});

describe("files", () => {
  it("mod.ts re-exports and does nothing else", () => {
    const code = read("mod.ts").replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
    const rest = code.replace(/export (?:type )?\{[^}]*\} from "\.\/src\/[\w/]+\.ts";/g, "");
    assert.equal(rest.trim(), "");
  });

  it("of code have at most 500 lines", () => {
    for (const { name, text } of texts) {
      if (isGenerated(name) || !/\.(ts|mjs|zig|cu|cuh)$/.test(name)) continue;
      const lines = text.split("\n").length - 1;
      assert.ok(lines <= 500, `${name} has ${lines} lines`);
    }
  });

  it("have plain names", () => {
    for (const name of files) {
      assert.match(name, /^[\w.-]+(\/[\w.-]+)*$/, `"${name}" has unusual characters`);
      if (/^(src|lib|scripts|cuda)\//.test(name)) {
        assert.match(name, /^[a-z0-9_./]+$/, `${name} is not in snake_case`);
      }
      if (/^bench\/.*\.ts$/.test(name)) {
        assert.match(name, /^bench\/(peers\/|report\/)?[a-z0-9_]+(\.bench)?\.ts$/);
      }
      assert.doesNotMatch(name, /\.(orig|rej|bak|swp|log|tmp)$/, `${name} is a leftover`);
    }
  });

  it("name no folder of anybody's machine", () => {
    const pattern = /(?<![\w.\-*\/}])\/(?:work|root|home|tmp|Users|mnt|media)\/[\w.]/;
    assert.match(`see ${"/"}home/somebody`, pattern);
    for (const { name, text } of texts) {
      const found = pattern.exec(text);
      assert.equal(found, null, `${name} names a machine's folder: ${found?.[0]}`);
    }
  });

  it("leave nothing for later", () => {
    const pattern = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "X" + "XX"].join("|")})\\b`);
    for (const { name, text } of texts.filter(({ name }) => !isData(name))) {
      assert.doesNotMatch(text, pattern, `${name} has a note for later`);
    }
  });

  it("of code have no spaces at the end of lines", () => {
    for (const { name, text } of texts.filter(({ name }) => !isData(name))) {
      if (!/\.(ts|mjs|zig|zon|cu|cuh|toml|json)$/.test(name)) continue;
      const line = text.split("\n").findIndex((line) => /[ \t\r]$/.test(line));
      assert.equal(line, -1, `${name}:${line + 1} ends in white space`);
    }
  });
});

/** The names that GitHub gives the headings of a Markdown file. */
function anchorsOf(name: string): string[] {
  const headings = [...read(name).replace(/```[\s\S]*?```/g, "").matchAll(/^#+ +(.+)$/gm)];
  return headings.map((heading) =>
    heading[1]!.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
}

describe("documents", () => {
  /** Where the links of a Markdown file lead, without those to other sites. */
  const linksOf = (name: string) =>
    [...read(name).matchAll(/\]\(([^()\s]+)\)/g)].map((match) => match[1]!)
      .filter((link) => !/^\w+:/.test(link));
  const documents = files.filter((name) => name.endsWith(".md") && !isData(name));

  it("have links that lead somewhere", () => {
    assert.ok(linksOf("README.md").length > 10);
    for (const name of documents) {
      for (const link of linksOf(name)) {
        const [path, anchor] = link.split("#");
        const target = path === "" ? name : resolve(name, path!);
        const there = files.some((file) => file === target || file.startsWith(`${target}/`));
        assert.ok(there, `${name} links to ${link}, which is not there`);
        if (anchor === undefined) continue;
        assert.ok(anchorsOf(target).includes(anchor), `${name} links to ${link}: no such heading`);
      }
    }
  });

  it("README.md links every example", () => {
    const examples = files.filter((name) => /^examples\/[^/]+\.ts$/.test(name));
    assert.ok(examples.length >= 5);
    for (const name of examples) {
      assert.ok(linksOf("README.md").includes(name), `README.md does not link ${name}`);
    }
  });
});

describe("generated files", () => {
  it("src/native/symbols.ts is what lib/api declares", () => {
    const options = { cwd: root, encoding: "utf8", env } as const;
    const result = spawnSync("bun", ["scripts/generate_symbols.ts", "--check"], options);
    assert.equal(result.status, 0, `${result.error ?? result.stderr}`);
  });

  it("carry the version of the package", () => {
    const { version } = JSON.parse(read("package.json"));
    assert.equal(JSON.parse(read("deno.json")).version, version);
    assert.equal(JSON.parse(read("package-lock.json")).version, version);
    assert.equal(/version = "([^"]+)"/.exec(read("src/native/manifest.ts"))?.[1], version);
    assert.equal(/\.version = "([^"]+)"/.exec(read("build.zig.zon"))?.[1], version);
  });

  it("packages are those of package.json wherever they are named", () => {
    const { dependencies } = JSON.parse(read("package.json"));
    for (const name of sources) {
      for (const specifier of importsOf(name).filter((specifier) => specifier.startsWith("npm:"))) {
        const dependency = specifier.slice("npm:".length, specifier.lastIndexOf("@"));
        assert.equal(specifier, `npm:${dependency}@${dependencies[dependency]}`);
      }
    }
  });

  it("package-lock.json names no server", () => {
    assert.doesNotMatch(read("package-lock.json"), /"resolved"/);
  });
});
