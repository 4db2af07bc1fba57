// The report of bench/distributed.ts: a table and a picture.

import { METHODS } from "./distributed_methods.ts";

/** One run of the trial. */
export interface Run {
  readonly name: string;
  readonly seed: number;
  readonly steps: number;
  readonly ranks: number;
  readonly parameters: number;
  readonly tokens: number;
  readonly validationLoss: number;
  /** Bytes that a rank sends for each parameter and step, over the whole run. */
  readonly bytes: number;
  /** The same over the second half. */
  readonly laterBytes: number;
  readonly seconds: number;
}

interface Summary {
  readonly name: string;
  readonly label: string;
  readonly loss: number;
  readonly least: number;
  readonly most: number;
  readonly bytes: number;
  readonly laterBytes: number;
  readonly seeds: number;
}

const mean = (values: readonly number[]) =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

function summarise(runs: readonly Run[]): Summary[] {
  return Object.entries(METHODS).flatMap(([name, { label }]) => {
    const own = runs.filter((run) => run.name === name);
    if (own.length === 0) return [];
    const losses = own.map(({ validationLoss }) => validationLoss);
    return [{
      name,
      label,
      loss: mean(losses),
      least: Math.min(...losses),
      most: Math.max(...losses),
      bytes: mean(own.map(({ bytes }) => bytes)),
      laterBytes: mean(own.map(({ laterBytes }) => laterBytes)),
      seeds: own.length,
    }];
  });
}

/** What must be reached: nats above the uncompressed run. */
const TARGETS: Readonly<Record<string, number>> = {
  entropy10: 0.02,
  onebit: 0.05,
  frozen100: 0.1,
  local100: 0.1,
};

const signed = (value: number) => `${value < 0 ? "-" : "+"}${Math.abs(value).toFixed(3)}`;

/** What bench/overlap.ts has measured. */
const OVERLAP = `
## Sending during the backward pass

\`mpirun -n N bun bench/overlap.ts\`: gradients of a transformer of 15.7 million parameters for 128
tokens, one thread for each rank, float32 in 15 buckets of 4 MiB, medians of 10 or 15 steps of each kind,
one after the other, on two cores in a machine that others used as well. Open MPI, 2 ranks: 176 ms
for the gradients and 82 ms for the exchange by themselves, 252 ms one after the other and 238 ms
overlapped; 4 ranks: 456 and 446 ms. MPICH, 2 ranks: 239 and 248 ms; 4 ranks: 669 and 639 ms. Where
ranks share all cores, the exchange takes the same cores as the backward pass, and the differences
(-7 % to +4 %, with bf16 -8 % to +5 %) are within what such runs differ by: nothing is gained there.
A network, or cores to spare, would be needed to gain something; that was not measured.
`;

/** The report as Markdown. */
export function writeTrial(runs: readonly Run[]): string {
  const summaries = summarise(runs);
  const base = summaries.find(({ name }) => name === "none")!.loss;
  const { ranks, parameters, tokens, steps } = runs[0]!;
  const rows = summaries.map((each) => {
    const difference = each.loss - base;
    const target = TARGETS[each.name];
    const verdict = target === undefined
      ? ""
      : `+${target} (${difference <= target ? "reached" : "missed"})`;
    return `| ${each.label} | ${each.bytes.toPrecision(3)} | ${(4 / each.bytes).toFixed(1)}x | ${
      (4 / each.laterBytes).toFixed(1)
    }x | ${each.loss.toFixed(3)} | ${each.least.toFixed(3)} to ${each.most.toFixed(3)} | ${
      signed(difference)
    } | ${verdict} |`;
  });
  return `# What compressed training costs

\`mpirun -n ${ranks} bun bench/distributed.ts --write\`: ${ranks} ranks, ${
    (parameters / 1000).toFixed(0)
  } thousand parameters (a ternary
transformer of two layers), ${steps} steps, ${
    (tokens / 1e6).toFixed(2)
  } million characters of the Jargon File, the same
tokens for all; mean over ${
    summaries[0]!.seeds
  } seeds. The loss is that of 32,768 characters that were held out, in nats
each. Bytes are what a rank hands over for each parameter and step, over the whole run, and how many
times less that is than float32; "later" counts the second half alone, as a long run does, whose
warm-up hardly weighs.

| exchange | bytes | less | later | loss | range of seeds | difference | at most |
| --- | --: | --: | --: | --: | --- | --: | --- |
${rows.join("\n")}

![Validation loss against bytes sent](distributed.svg)

Gradients are averaged by \`averageGradients\`; the compressed ones are balanced between the parameters and
have error feedback, which is best at a tenth of the size and bad where fewer bits are left. The momentum
methods are \`CompressedAdam\`: for 25 % of the steps gradients are sent as in the row of 10x, then Adam's
variance is frozen. DiLoCo is \`localSteps\` with a mean of the ranks (learning rate 1, no momentum), its
inner learning rate 6e-3; all others have 2e-3, the best of 1e-3, 2e-3 and 4e-3 without compression.
Momentum of the outer steps made these short runs worse, as did more local steps. Differences of less than
about 0.02 mean little: two runs that differed in roundings alone differed by that much.
Rates, the share of the warm-up and the use of error feedback were chosen on seed 1.
${OVERLAP}`;
}

const WIDTH = 880;
const HEIGHT = 440;
const [LEFT, RIGHT, TOP, BOTTOM] = [60, 560, 20, 390];

/** The report's picture as SVG: loss against bytes, to a logarithmic scale. */
export function drawTrial(runs: readonly Run[]): string {
  const summaries = summarise(runs);
  const bytes = summaries.map((each) => Math.log10(each.bytes));
  const [xLeast, xMost] = [Math.floor(Math.min(...bytes)), 1];
  const yLeast = Math.floor(20 * Math.min(...summaries.map(({ least }) => least))) / 20;
  const yMost = Math.ceil(20 * Math.max(...summaries.map(({ most }) => most))) /
    20;
  const x = (value: number) =>
    RIGHT - (RIGHT - LEFT) * (Math.log10(value) - xLeast) / (xMost - xLeast);
  const y = (loss: number) => BOTTOM - (BOTTOM - TOP) * (loss - yLeast) / (yMost - yLeast);
  const lines = [
    `<path d="M${LEFT} ${TOP}V${BOTTOM}H${RIGHT}" fill="none" stroke="#444"/>`,
  ];
  for (let power = xLeast; power <= xMost; power += 1) {
    const at = x(10 ** power).toFixed(1);
    lines.push(
      `<text x="${at}" y="${BOTTOM + 18}" text-anchor="middle">${
        Number((10 ** power).toPrecision(3))
      }</text>`,
    );
  }
  for (let loss = yLeast; loss <= yMost + 1e-9; loss += 0.05) {
    const at = y(loss).toFixed(1);
    lines.push(
      `<path d="M${LEFT} ${at}H${RIGHT}" stroke="#ddd"/>`,
      `<text x="${LEFT - 6}" y="${at}" text-anchor="end" dy="4">${loss.toFixed(2)}</text>`,
    );
  }
  summaries.forEach((each, index) => {
    const [at, middle] = [x(each.bytes).toFixed(1), y(each.loss).toFixed(1)];
    lines.push(
      `<path d="M${at} ${y(each.least).toFixed(1)}V${y(each.most).toFixed(1)}" stroke="#1f77b4"/>`,
      `<circle cx="${at}" cy="${middle}" r="4" fill="#1f77b4"/>`,
      `<text x="${at}" y="${middle}" dx="7" dy="-5">${index + 1}</text>`,
      `<text x="${RIGHT + 20}" y="${TOP + 14 + 20 * index}">${index + 1} ${each.label}</text>`,
    );
  });
  lines.push(
    `<text x="${(LEFT + RIGHT) / 2}" y="${
      BOTTOM + 40
    }" text-anchor="middle">bytes sent for each parameter and step</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>
${lines.join("\n")}
</svg>
`;
}
