// Runs the tests on Deno and fails when they executed too few lines of src/.
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { capture, fail, root, run } from "./shell.mjs";

const REQUIRED_PERCENT = 90;

/** These tests run copies of the sources in other programs, whose reports would stand beside ours. */
const OTHER_PROGRAMS = ["test/install_test.ts", "test/worker_test.ts", "test/tidy_test.ts"];

/** Lines found and lines hit, by file, of a report in the format of lcov. */
function parseLcov(text) {
  return text.split("end_of_record").flatMap((record) => {
    const file = /^SF:(.+)$/m.exec(record)?.[1];
    if (!file) return [];
    const lines = [...record.matchAll(/^DA:\d+,(\d+)/gm)];
    return [{ file, found: lines.length, hit: lines.filter(([, count]) => count !== "0").length }];
  });
}

/**
 * Removes what programs that tests killed had begun to write: they report into the same folder, and Deno
 * reads no report at all where one file is broken.
 */
function removeUnfinished(folder) {
  const unfinished = readdirSync(folder).map((name) => join(folder, name)).filter((file) => {
    try {
      JSON.parse(readFileSync(file, "utf8"));
      return false;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return true;
    }
  });
  for (const file of unfinished) rmSync(file);
  if (unfinished.length > 0) {
    console.log(`${unfinished.length} reports of programs that were killed are not complete`);
  }
}

/** Runs all tests on Deno, prints how much of src/ they executed and fails below the floor. */
export function testWithCoverage() {
  const folder = join(root, "coverage");
  rmSync(folder, { recursive: true, force: true });
  const options = ["-A", `--coverage=${folder}`, "--coverage-raw-data-only"];
  run("deno", ["test", ...options, `--ignore=${OTHER_PROGRAMS.join(",")}`, "test/"]);
  removeUnfinished(folder);
  const report = capture("deno", ["coverage", "--lcov", "--quiet", folder], { maxBuffer: 2 ** 28 });
  if (!report) fail("deno coverage gave no report");
  // Only now: they make Deno transpile again, and it skips sources that have been since they ran.
  run("deno", ["test", "-A", ...OTHER_PROGRAMS]);
  const source = join(root, "src");
  const files = parseLcov(report).filter(({ file }) => file.startsWith(source));
  const written = readdirSync(source, { recursive: true }).filter((name) => name.endsWith(".ts"));
  if (files.length < 0.8 * written.length) {
    fail(`the coverage must be that of the ${written.length} files of src/, got ${files.length}`);
  }
  const sum = (key) => files.reduce((total, file) => total + file[key], 0);
  for (const { file, found, hit } of files) {
    console.log(
      `${(100 * hit / found).toFixed(1).padStart(6)} %  ${file.slice(source.length + 1)}`,
    );
  }
  const percent = 100 * sum("hit") / sum("found");
  console.log(`${percent.toFixed(1).padStart(6)} %  of ${sum("found")} lines of src/`);
  // Written this way round so that a report without any line fails too.
  if (!(percent >= REQUIRED_PERCENT)) {
    fail(`the tests must execute at least ${REQUIRED_PERCENT} % of src/`);
  }
}
