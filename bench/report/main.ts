// The benchmark: starts a measuring process for each runtime and each configuration, one after the
// other, and puts what they found together.
//
//   npm run bench                    prints the report
//   npm run bench:report             writes bench/report.json, report.md, roofline.svg, README.md
//   npm run bench -- --quick         less than a minute, judges no time: does everything work?
//   npm run bench -- --only TEXT     only cases whose "suite: name" contains the text

import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { info, version } from "../../mod.ts";
import { processorName } from "./context.ts";
import { isBusy } from "./load.ts";
import { markdown } from "./markdown.ts";
import type { Measured, Options } from "./measure.ts";
import { speedTable, writeReadme } from "./readme.ts";
import { findProblems, type Report } from "./report.ts";
import { roofline } from "./roofline.ts";

const folder = fileURLToPath(new URL("../", import.meta.url));
const script = fileURLToPath(new URL("measure.ts", import.meta.url));

const RUNTIMES: readonly (readonly string[])[] = [
  ["bun", script],
  ["deno", "run", "-A", script],
];

interface Configuration {
  forced: boolean;
  env: Record<string, string>;
}

/**
 * OpenBLAS reads its variable when it is loaded, so the process that loads it must be started with
 * it. Its own choice is not always the best: older versions take newer processors for old ones.
 */
function configurations(): Configuration[] {
  const { isa, isas } = info();
  const avx2 = { OPENBLAS_CORETYPE: "HASWELL" };
  if (isa !== "avx512") {
    return [{ forced: false, env: isas.includes("avx2") ? avx2 : {} }];
  }
  return [
    { forced: false, env: { OPENBLAS_CORETYPE: "SKYLAKEX" } },
    { forced: true, env: { ...avx2, TRITTER_FORCE_ISA: "avx2" } },
  ];
}

function measure(
  command: readonly string[],
  { env, forced }: Configuration,
  options: Options,
) {
  const [program, ...args] = command as [string, ...string[]];
  const label = `${program}${forced ? `, ${env["TRITTER_FORCE_ISA"]}` : ""}`;
  console.log(`measuring: ${label}`);
  const started = performance.now();
  const result = spawnSync(program, [
    ...args,
    JSON.stringify({ ...options, forced }),
  ], {
    env: { ...process.env, ...env },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 2 ** 26,
    shell: process.platform === "win32",
  });
  if (result.error || result.status !== 0) {
    throw new Error(
      `${label} failed: ${result.error?.message ?? `status ${result.status}`}`,
    );
  }
  const measured = JSON.parse(
    result.stdout.trim().split("\n").at(-1)!,
  ) as Measured;
  console.log(`  ${((performance.now() - started) / 1000).toFixed(0)} s`);
  for (const reason of measured.skipped) {
    console.log(`  not measured: ${reason}`);
  }
  if (isBusy(measured.before) || isBusy(measured.during)) {
    console.log("  the machine was busy");
  }
  return measured;
}

/** What a quick run has to show: every peer is there, or it says why not. */
function missingPeers({ processes }: Report): string[] {
  return processes.filter(({ forced }) => !forced).flatMap(
    ({ runtime, rows, skipped }) => {
      const subjects = new Set(rows.map((row) => row.subject));
      const reasons = skipped.join("\n");
      const isThere = (subject: string, library: string) =>
        subjects.has(subject) || reasons.includes(library);
      const expected = [
        ["tritter-accel", "nothing excuses"],
        ["OpenBLAS fp32", "OpenBLAS"],
        ["ORT fp32", "onnxruntime-node"],
        ["ORT 2-bit", "onnxruntime-node"],
        ["TypeScript", "nothing excuses"],
      ] as const;
      return expected.filter(([subject, library]) => !isThere(subject, library))
        .map(([subject]) => `${runtime}: ${subject} was not measured`);
    },
  );
}

function write(report: Report, text: string, plot: string | undefined): void {
  writeFileSync(`${folder}report.json`, `${JSON.stringify(report, null, 1)}\n`);
  writeFileSync(`${folder}report.md`, text);
  if (plot !== undefined) writeFileSync(`${folder}roofline.svg`, plot);
  writeReadme(report);
  console.log(
    "written: bench/report.json, bench/report.md, bench/roofline.svg, README.md",
  );
}

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    only: { type: "string" },
  },
});
const options: Options = {
  quick: values.quick,
  ...(values.only === undefined ? {} : { only: values.only }),
};
const measured: Report = {
  version: version(),
  date: new Date().toISOString().slice(0, 10),
  quick: values.quick,
  processor: processorName(),
  cores: info().cores,
  processes: configurations().flatMap((configuration) =>
    RUNTIMES.map((command) => measure(command, configuration, options))
  ),
};
// Six digits are more than was measured; everything below is made from what report.json will hold.
const report = JSON.parse(
  JSON.stringify(
    measured,
    (_, value) => typeof value === "number" ? Number(value.toPrecision(6)) : value,
  ),
) as Report;
const problems = [
  ...findProblems(measured),
  ...(values.quick ? missingPeers(report) : []),
];
const text = markdown(report);
const plot = roofline(report);
console.log(`\n${text}`);
if (values.quick) {
  // The rest of what a full run writes must come out of these numbers as well.
  if (plot === undefined) problems.push("there is no roofline plot");
  if (!speedTable(report).includes(report.processor)) {
    problems.push("there is no speed table");
  }
} else if (values.write) {
  if (values.only !== undefined) {
    problems.push("--write needs a run without --only");
  } else if (problems.length === 0) write(report, text, plot);
}
for (const problem of problems) console.error(`error: ${problem}`);
process.exit(problems.length === 0 ? 0 : 1);
