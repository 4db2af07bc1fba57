// What is in each package of a release: its package.json and the files that are written for it.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { libraryFiles } from "./compile.mjs";
import { root } from "./shell.mjs";

/** The platforms as npm names them, in the order in which they are tried. */
export const targets = [
  { name: "linux-x64", os: "linux", cpu: "x64", libc: "glibc", prebuilt: "linux-x64" },
  { name: "linux-x64-musl", os: "linux", cpu: "x64", libc: "musl", prebuilt: "linux-x64-musl" },
  { name: "linux-arm64", os: "linux", cpu: "arm64", libc: "glibc", prebuilt: "linux-arm64" },
  { name: "darwin-arm64", os: "darwin", cpu: "arm64", prebuilt: "darwin-arm64" },
  { name: "win32-x64", os: "win32", cpu: "x64", prebuilt: "windows-x64" },
];

export const loaderName = "tritter-accel-native";
export const platformName = ({ name }) => `tritter-accel-${name}`;
export const fileOf = ({ prebuilt }) => libraryFiles[prebuilt.split("-")[0]];

const source = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const json = (value) => `${JSON.stringify(value, null, 2)}\n`;

/** What all packages say alike. */
const common = (name, version, description) => ({
  name,
  version,
  description,
  license: source.license,
  type: "module",
});

/** A package with the library of one platform, and the path of it as its default export. */
export function platformFiles(target, version) {
  const file = fileOf(target);
  const { os, cpu, libc } = target;
  const manifest = {
    ...common(
      platformName(target),
      version,
      `The native library of tritter-accel for ${target.name}`,
    ),
    os: [os],
    cpu: [cpu],
    ...(libc === undefined ? {} : { libc: [libc] }),
    exports: {
      ".": { types: "./index.d.ts", bun: "./index.bun.js", default: "./index.js" },
      [`./${file}`]: `./${file}`,
      "./package.json": "./package.json",
    },
    files: ["index.js", "index.bun.js", "index.d.ts", file],
  };
  return {
    "package.json": json(manifest),
    "index.js": `import { fileURLToPath } from "node:url";

export default fileURLToPath(new URL("./${file}", import.meta.url));
`,
    // The form that \`bun build --compile\` embeds the file for.
    "index.bun.js": `import path from "./${file}" with { type: "file" };

export default path;
`,
    "index.d.ts": `/** Path of the library. */
declare const path: string;
export default path;
`,
    "README.md":
      `# ${manifest.name}\n\n${manifest.description}. Install [tritter-accel](https://www.npmjs.com/package/tritter-accel), which finds it.\n`,
  };
}

/** Imports that bundlers see, each in a block of its own that survives where the package is not. */
function importOf(target) {
  return `  try {
    libraries.push((await import("${platformName(target)}")).default);
  } catch (error) {
    failures.push(\`npm package ${platformName(target)}: \${error.message.split("\\n")[0]}\`);
  }
`;
}

/** The package that depends on those of all platforms and finds the one that is installed. */
export function loaderFiles(version) {
  const manifest = {
    ...common(loaderName, version, "Finds the native library of tritter-accel for this platform"),
    exports: {
      ".": { types: "./index.d.ts", default: "./index.js" },
      "./package.json": "./package.json",
    },
    files: ["index.js", "index.d.ts"],
    optionalDependencies: Object.fromEntries(
      targets.map((target) => [platformName(target), version]),
    ),
  };
  const keys = [...new Set(targets.map(({ os, cpu }) => `${os}-${cpu}`))];
  const branches = keys.map((key) => {
    const imports = targets.filter(({ os, cpu }) => `${os}-${cpu}` === key).map(importOf).join("");
    return `if (key === "${key}") {\n${imports}}`;
  }).join(" else ");
  return {
    "package.json": json(manifest),
    "index.js": `import process from "node:process";

/** Paths of the libraries that are installed for this platform, the likeliest first. */
export const libraries = [];

/** Why a package of this platform could not be used. */
export const failures = [];

const key = \`\${process.platform}-\${process.arch}\`;
${branches} else {
  failures.push(\`npm package ${loaderName}: there is no library for \${key}\`);
}
`,
    "index.d.ts":
      `/** Paths of the libraries that are installed for this platform, the likeliest first. */
export declare const libraries: string[];
/** Why a package of this platform could not be used. */
export declare const failures: string[];
`,
    "README.md":
      `# ${loaderName}\n\n${manifest.description}. Install [tritter-accel](https://www.npmjs.com/package/tritter-accel), which uses it.\n`,
  };
}

/** The package.json of the package that people install: JavaScript and declarations. */
export function mainManifest(version) {
  const { description, keywords, dependencies, engines } = source;
  const program = "./dist/src/cli/main.js";
  return json({
    ...common(source.name, version, description),
    keywords,
    exports: {
      ".": { types: "./dist/mod.d.ts", default: "./dist/mod.js" },
      "./package.json": "./package.json",
    },
    bin: { "tritter-accel": program, tritter: program },
    files: ["dist", "CHANGELOG.md"],
    dependencies: { ...dependencies, [loaderName]: version },
    engines,
  });
}

/** The deno.json of the package on JSR: TypeScript alone, the library through npm. */
export function jsrManifest(version) {
  const { name, license, compilerOptions } = JSON.parse(
    readFileSync(join(root, "deno.json"), "utf8"),
  );
  return json({
    name,
    version,
    license,
    exports: { ".": "./mod.ts", "./cli": "./src/cli/main.ts" },
    imports: { [loaderName]: `npm:${loaderName}@${version}` },
    compilerOptions,
  });
}
