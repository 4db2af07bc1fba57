// bench/report.md: first what had to be reached, then the limits, then everything that was measured.

import { isBusy } from "./load.ts";
import type { Measured } from "./measure.ts";
import {
  BUSY_NOTE,
  digits,
  family,
  isDisturbed,
  judged,
  percent,
  type Report,
  requirement,
  times,
  verdict,
} from "./report.ts";
import type { Row } from "./row.ts";
import { reached } from "./targets.ts";

/** A table of Markdown, aligned as `deno fmt` aligns it. */
export function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const widths = header.map((title, column) =>
    Math.max(
      3,
      ...[title, ...rows.map((row) => row[column]!)].map((text) => [...text].length),
    )
  );
  const line = (cells: readonly string[]) =>
    `| ${
      cells.map((cell, column) => cell + " ".repeat(widths[column]! - [...cell].length)).join(" | ")
    } |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [line(header), rule, ...rows.map(line)].join("\n");
}

/** Required numbers, a line for each requirement and a column for each runtime. */
function targets({ processes }: Report): string {
  const rows = processes.flatMap((process) => process.rows).filter((row) => row.must !== undefined);
  if (rows.length === 0) {
    return "Nothing that was measured has a number to reach.";
  }
  const runtimes = [...new Set(rows.map((row) => family(row.runtime)))];
  const lines = Map.groupBy(rows, requirement);
  const missed = rows.filter((row) => verdict(row) === "missed").length;
  const aims = rows.filter((row) => verdict(row) === "aim").length;
  const body = [...lines].map(([text, rows]) => {
    const first = rows[0]!;
    const cells = runtimes.map((runtime) => {
      const row = rows.find((row) => family(row.runtime) === runtime);
      if (row === undefined) return "";
      const doubt = isDisturbed(row) ? `, ${BUSY_NOTE}` : "";
      return `${judged(row, reached(row))} (${verdict(row)}${doubt})`;
    });
    const reasons = rows.filter((row) => verdict(row) === "missed").map((row) => row.note ?? "");
    const reason = [...new Set(reasons)].filter(Boolean).join("; ");
    return [
      text,
      judged(first, first.must!),
      judged(first, first.aim!),
      ...cells,
      reason,
    ];
  });
  return `${
    rows.length - missed
  } of ${rows.length} reach what they must, ${aims} what they aim at.\n\n` +
    table(["what", "must", "aim", ...runtimes, "where missed"], body);
}

/** How much of the machine others used, with a warning where the numbers may suffer. */
function loads({ before, during }: Measured): string {
  const text = (load: Measured["before"]) =>
    `${percent(load.others)} by other processes, ${percent(load.stolen)} by other machines`;
  const warning = isBusy(before) || isBusy(during) ? "**The machine was busy:** its" : "Its";
  return `${warning} processors were used ${text(before)} just before, ${text(during)} meanwhile.`;
}

function limits({ processes }: Report): string {
  const names = [
    ...new Set(
      processes.flatMap(({ limits }) => limits.map(({ name }) => name)),
    ),
  ];
  const header = [
    "limit",
    ...processes.map(({ runtime, isa }) => `${family(runtime)}, ${isa}`),
  ];
  const body = names.map((name) => [
    name,
    ...processes.map((process) => {
      const limit = process.limits.find((limit) => limit.name === name);
      if (limit === undefined) return "";
      return `${digits(limit.median)} ${limit.unit} (best ${digits(limit.best)})`;
    }),
  ]);
  return table(header, body);
}

const isSame = (a: Row, b: Row) => a.suite === b.suite && a.name === b.name;

function shareText({ share, limit, limit_unit }: Row): string {
  if (share === undefined) return "";
  return percent(share) +
    (limit === undefined ? "" : ` of ${digits(limit)} ${limit_unit ?? ""}`);
}

/** Rows of one process, each subject of a case once. */
function details({ rows }: Measured): string {
  const own = rows.filter((row) => row.peer === undefined || row.suite !== "products");
  const body = own.map((row) => {
    const ratios = rows
      .filter((other) => isSame(other, row) && other.peer === row.subject && other.ratio)
      .map((other) => `${other.activations ?? ""} ${times(other.ratio!)}`.trim());
    const ratio = row.ratio === undefined ? ratios.join(", ") : `${times(row.ratio)} (${row.peer})`;
    return [
      row.name,
      [row.subject, row.activations].filter(Boolean).join(", "),
      `${row.threads}`,
      digits(row.median_us),
      `${digits(row.p10_us)} to ${digits(row.p90_us)}`,
      row.rate === undefined ? "" : `${digits(row.rate)} ${row.rate_unit ?? ""}`,
      shareText(row),
      ratio,
      row.note ?? "",
    ];
  });
  const header = ["case", "subject", "threads", "median µs", "p10 to p90"];
  return table(
    [...header, "rate", "share of limit", "we are faster", "note"],
    body,
  );
}

function section(process: Measured): string {
  const { runtime, isa, threads, peers, skipped } = process;
  const notes = skipped.map((reason) => `- Not measured: ${reason}`);
  return [
    `## ${runtime}, ${isa}, ${threads} threads`,
    `Peers: ${peers.join("; ")}. ${loads(process)}`,
    ...(notes.length > 0 ? [notes.join("\n")] : []),
    details(process),
  ].join("\n\n");
}

const METHOD =
  `Medians of single calls through the public TypeScript interface, prepared weights, \`out\` given. Of
each case all subjects take turns (A B C A B C, seven rounds), each with a pause and calls that are not
timed before; the limits are measured by the library's own probes within the same rounds. Limits are
medians as well. A ratio is the peer's time over ours; int8 quantises the activations within the call,
as onnxruntime's 2-bit product does, while OpenBLAS and the f32 columns compute in fp32. TypeScript is
the fastest of four loops, on one thread. Every subject's product is checked against a float64 loop
before it is timed. What others on the machine disturbed (more than 3 % of its time) is measured
again, twice at most; what is still disturbed says "busy machine". onnxruntime-node has no synchronous call; its promise is part of its time.`;

/** The whole report as Markdown. */
export function markdown(report: Report): string {
  const { processor, cores, date, version, processes } = report;
  return `${
    [
      "# Benchmark report",
      `tritter-accel ${version} on ${date}, ${processor}, ${cores} cores.`,
      METHOD,
      "## What must be reached",
      targets(report),
      "## Limits of this machine",
      limits(report),
      "![Roofline](roofline.svg)",
      ...processes.map(section),
    ].join("\n\n")
  }\n`;
}
