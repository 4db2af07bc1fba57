// The tables of README.md, which come from bench/*.json and from nowhere else.
//
//   bun bench/report/readme.ts --check

import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { claimsTable, cudaTable } from "./claims.ts";
import { table } from "./markdown.ts";
import { digits, family, isDisturbed, type Report, times } from "./report.ts";
import type { Row } from "./row.ts";

const BEGIN = "<!-- speed: made by npm run bench:report -->";
const END = "<!-- /speed -->";

const root = new URL("../../", import.meta.url);
const readmeFile = fileURLToPath(new URL("README.md", root));
const reportFile = fileURLToPath(new URL("bench/report.json", root));

const PEERS = ["OpenBLAS fp32", "ORT 2-bit", "TypeScript"] as const;

const BATCHES = [1, 32, 512];

const isShown = (row: Row) =>
  row.suite === "products" && BATCHES.includes(row.batch!) &&
  row.shape?.join() === "4096,4096";

/** The lines between the markers. */
export function speedTable(
  { processes, processor, cores, date }: Report,
): string {
  const best = processes.filter(({ forced }) => !forced);
  const body = best.flatMap(({ runtime, rows }) =>
    BATCHES.flatMap((batch) => {
      const of = rows.filter((row) => isShown(row) && row.batch === batch);
      const cell = (activations: "int8" | "f32") => {
        const row = of.find((row) => row.activations === activations && row.peer === undefined);
        return row === undefined ? "" : `${digits(row.median_us)} µs`;
      };
      const ratios = PEERS.map((peer) => {
        const row = of.find((row) => row.activations === "int8" && row.peer === peer);
        return row?.ratio === undefined ? "" : times(row.ratio);
      });
      return of.length === 0 ? [] : [[
        `${family(runtime)}, batch ${batch}`,
        cell("int8"),
        cell("f32"),
        ...ratios,
      ]];
    })
  );
  const header = [
    "4096 x 4096",
    "int8",
    "f32",
    ...PEERS.map((peer) => `int8 vs ${peer}`),
  ];
  const runtimes = [...new Set(best.map(({ runtime }) => runtime))].join(
    " and ",
  );
  const busy = best.some(({ rows }) => rows.some((row) => isShown(row) && isDisturbed(row)));
  const { isa = "", threads = 0 } = best[0] ?? {};
  const text = [
    "Time of one product with prepared weights through the public API, with int8 and with f32",
    "activations, and how many times faster int8 is than the peers: OpenBLAS with fp32 weights,",
    "onnxruntime-node's 2-bit `MatMulNBits`, and the fastest of four TypeScript loops on one thread.",
    `Measured on ${date} on ${processor}, ${cores} cores, ${isa}, ${threads} threads,`,
    `${runtimes}${busy ? ", while the machine was busy" : ""}. Everything else, and how it was`,
    "measured, is in [bench/report.md](bench/report.md).",
  ];
  return [table(header, body), wrap(text.join(" "))].join("\n\n");
}

/** Lines of at most 100 characters, as the formatter wants them. */
function wrap(text: string): string {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (longer.length <= 100) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines.join("\n");
}

/** README.md with the tables of this report and of bench/cuda.json. */
export function updated(readme: string, report: Report): string {
  const withSpeed = replaced(readme, BEGIN, END, speedTable(report));
  const withCuda = replaced(
    withSpeed,
    "<!-- cuda: made by npm run bench:report -->",
    "<!-- /cuda -->",
    cudaTable(),
  );
  return replaced(
    withCuda,
    "<!-- claims: made by npm run bench:report -->",
    "<!-- /claims -->",
    claimsTable(report),
  );
}

/** The text with these lines between two markers. */
function replaced(
  text: string,
  begin: string,
  end: string,
  lines: string,
): string {
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) {
    throw new Error(`README.md lacks "${begin}" or "${end}"`);
  }
  return `${text.slice(0, from + begin.length)}\n\n${lines}\n\n${text.slice(to)}`;
}

export function writeReadme(report: Report): void {
  writeFileSync(readmeFile, updated(readFileSync(readmeFile, "utf8"), report));
}

if (import.meta.main) {
  const report = JSON.parse(readFileSync(reportFile, "utf8")) as Report;
  if (!process.argv.includes("--check")) writeReadme(report);
  else {
    const readme = readFileSync(readmeFile, "utf8");
    if (updated(readme, report) !== readme) {
      console.error(
        "README.md does not show bench/*.json: run bun bench/report/readme.ts",
      );
      process.exit(1);
    }
  }
}
