// Loads the packaged libraries of other systems where an emulator or another C library is at hand.
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileOf, platformName, targets } from "./release_packages.mjs";
import { capture, environment, fail, root, run } from "./shell.mjs";
import { zig } from "./toolchain.mjs";

/** How a program of each target runs on Linux x64, the file that it takes, and where Debian has it. */
const FOREIGN = {
  "linux-x64-musl": {
    triple: "x86_64-linux-musl",
    flags: ["-dynamic"],
    command: [],
    needs: "/lib/ld-musl-x86_64.so.1",
    from: "musl",
  },
  "linux-arm64": {
    triple: "aarch64-linux-gnu.2.27",
    flags: [],
    command: ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"],
    needs: "/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1",
    from: "qemu-user-static libc6-arm64-cross",
  },
  "win32-x64": {
    triple: "x86_64-windows-gnu",
    flags: [],
    command: ["/usr/lib/wine/wine64"],
    needs: "/usr/lib/wine/wine64",
    from: "wine64",
  },
};

/** Compiles a program that loads a library, and runs it with the library of the tarball. */
function loadOne(target, release, folder) {
  const { triple, flags, command, needs, from } = FOREIGN[target.name];
  if (!existsSync(needs)) {
    return console.log(`${target.name}: not run, because Debian's ${from} is not installed`);
  }
  const work = join(folder, target.name);
  mkdirSync(work, { recursive: true });
  const version = release.version;
  run("tar", ["xzf", join(release.npm, `${platformName(target)}-${version}.tgz`), "-C", work]);
  const program = join(work, "load_library.exe");
  const source = join(root, "test", "release", "load_library.c");
  run(zig(), ["cc", "-target", triple, ...flags, "-O1", "-o", program, source]);
  const [name, ...args] = [...command, program, join(work, "package", fileOf(target))];
  const env = { ...environment, WINEPREFIX: join(folder, "wine"), WINEDEBUG: "-all" };
  const printed = capture(name, args, { env, timeout: 300_000 });
  if (printed === undefined) {
    fail(`${target.name}: the library could not be loaded or computes wrong`);
  }
  const { os, arch, isa } = JSON.parse(printed);
  console.log(`${target.name}: loaded and computes right (${os}, ${arch}, ${isa})`);
}

/** Loads every library that can be. */
export function checkForeign(release, folder) {
  if (process.platform !== "linux" || process.arch !== "x64") return;
  for (const target of targets.filter(({ name }) => name in FOREIGN)) {
    loadOne(target, release, folder);
  }
}
