// Makes everything that a release publishes, the same bytes every time: tarballs for npm and a folder
// for JSR.
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { hashSources } from "./compile.mjs";
import { renderModule, withBuild } from "./prebuild.mjs";
import {
  fileOf,
  jsrManifest,
  loaderFiles,
  loaderName,
  mainManifest,
  platformFiles,
  platformName,
  targets,
} from "./release_packages.mjs";
import { capture, fail, root, run } from "./shell.mjs";

const USAGE = "usage: npm run release:pack -- --version X [--out folder] [--build]";
const SEMVER = /^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/;

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      version: { type: "string" },
      out: { type: "string", default: "release" },
      build: { type: "boolean", default: false },
    },
  });
  if (!SEMVER.test(values.version ?? "")) fail(`--version must be like 1.2.3\n${USAGE}`);
  const out = resolve(root, values.out);
  // The folder is replaced as a whole, so it must be one of ours.
  if (existsSync(out) && readdirSync(out).length > 0 && !existsSync(join(out, "SHA256SUMS"))) {
    fail(`${out} holds something else than a release`);
  }
  return { version: values.version, out, build: values.build };
}

/** The library of a platform: the one in prebuilt/ where it is of these sources, or a new build. */
function placeLibrary(target, path, build) {
  const manifest = JSON.parse(readFileSync(join(root, "prebuilt", "manifest.json"), "utf8"));
  const committed = join(root, "prebuilt", target.prebuilt, fileOf(target));
  const known = manifest.libraries[target.prebuilt];
  if (!build && known && manifest.sources === hashSources()) {
    if (sha256(readFileSync(committed)) !== known.sha256) {
      fail(`${committed} is not what prebuilt/manifest.json describes`);
    }
    copyFileSync(committed, path);
  } else {
    withBuild(target.prebuilt, (built) => copyFileSync(built, path));
  }
}

function writeFiles(folder, files) {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
}

const copyTexts = (folder, names) =>
  names.forEach((name) => copyFileSync(join(root, name), join(folder, name)));

/** JavaScript and declarations of the sources. */
function fillMain(folder, version) {
  mkdirSync(folder, { recursive: true });
  const dist = join(folder, "dist");
  run("tsc", ["--project", "tsconfig.build.json", "--outDir", dist]);
  writeFileSync(join(folder, "package.json"), mainManifest(version));
  copyTexts(folder, ["README.md", "CHANGELOG.md", "LICENSE"]);
}

/** The sources alone: nothing there names a library that could be downloaded. */
function fillJsr(folder, version) {
  mkdirSync(folder, { recursive: true });
  cpSync(join(root, "src"), join(folder, "src"), { recursive: true });
  copyTexts(folder, ["mod.ts", "README.md", "CHANGELOG.md", "LICENSE"]);
  writeFileSync(join(folder, "deno.json"), jsrManifest(version));
  const manifest = JSON.parse(readFileSync(join(root, "prebuilt", "manifest.json"), "utf8"));
  writeFileSync(
    join(folder, "src", "native", "manifest.ts"),
    renderModule({ version: manifest.version, libraries: {} }),
  );
}

/** npm's own packing gives every file the same owner and time, and sorts them; modes are left to us. */
function packInto(folder, stage) {
  for (const entry of readdirSync(stage, { recursive: true, withFileTypes: true })) {
    const program = entry.name === "main.js" && entry.parentPath.endsWith("cli");
    chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() || program ? 0o755 : 0o644);
  }
  const printed = capture("npm", [
    ...["pack", "--silent", "--ignore-scripts", `--pack-destination=${folder}`],
    stage,
  ]);
  if (printed === undefined) fail(`npm pack failed in ${stage}`);
  return printed.trim().split("\n").at(-1);
}

/** Makes the release in a folder of its own, which gets its name when it is complete. */
export function releasePack(...args) {
  const { version, out, build } = readOptions(args);
  const partial = `${out}.part`;
  const stage = join(partial, "stage");
  const npm = join(partial, "npm");
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(npm, { recursive: true });
  for (const target of targets) {
    const folder = join(stage, platformName(target));
    writeFiles(folder, platformFiles(target, version));
    copyTexts(folder, ["LICENSE"]);
    placeLibrary(target, join(folder, fileOf(target)), build);
  }
  writeFiles(join(stage, loaderName), loaderFiles(version));
  copyTexts(join(stage, loaderName), ["LICENSE"]);
  fillMain(join(stage, "tritter-accel"), version);
  const order = [...targets.map(platformName), loaderName, "tritter-accel"];
  const tarballs = order.map((name) => packInto(npm, join(stage, name)));
  // In this order each package's dependencies are there before it.
  writeFileSync(join(npm, "order.json"), `${JSON.stringify(tarballs, null, 2)}\n`);
  rmSync(stage, { recursive: true });
  fillJsr(join(partial, "jsr"), version);
  const sums = readdirSync(partial, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => `${sha256(readFileSync(path))}  ${path.slice(partial.length + 1)}`);
  writeFileSync(join(partial, "SHA256SUMS"), `${sums.sort().join("\n")}\n`);
  if (existsSync(out)) rmSync(out, { recursive: true });
  renameSync(partial, out);
  for (const name of tarballs) {
    const { length } = readFileSync(join(out, "npm", name));
    console.log(`${name}: ${length} bytes`);
  }
  const own = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version;
  if (version !== own) console.log(`note: the libraries call themselves ${own}`);
  return out;
}
