// bench/roofline.svg: operations per byte of weights against operations a second, with the measured
// ceilings, both axes logarithmic.

import type { Measured } from "./measure.ts";
import { digits, type Report } from "./report.ts";
import type { Row } from "./row.ts";

const WIDTH = 960;
const HEIGHT = 640;
const LEFT = 90;
const RIGHT = 700;
const TOP = 60;
const BOTTOM = 560;

/** Ends of the horizontal axis, operations a byte, and the lower end of the other, GOP/s. */
const X_LOW = 0.25;
const X_HIGH = 8192;
const Y_LOW = 1;

const x = (value: number) =>
  LEFT + (RIGHT - LEFT) * Math.log(value / X_LOW) / Math.log(X_HIGH / X_LOW);

/** Where a number of GOP/s stands. */
type Height = (value: number) => number;

const heightUpTo = (most: number): Height => (value) =>
  BOTTOM - (BOTTOM - TOP) * Math.log(value / Y_LOW) / Math.log(most / Y_LOW);

const at = (value: number) => value.toFixed(1);

interface Series {
  name: string;
  color: string;
  /** Bytes of a weight. */
  weight_bytes: number;
  /** Of the batch sizes below the points; without it they have none, for lack of room. */
  label_offset?: number;
  has(row: Row): boolean;
}

const isOurs = (row: Row) => row.subject === "tritter-accel" && row.peer === undefined;

const SERIES: readonly Series[] = [
  {
    name: "tritter-accel, int8",
    color: "#c0392b",
    weight_bytes: 1 / 4,
    label_offset: -9,
    has: (row) => isOurs(row) && row.activations === "int8",
  },
  {
    name: "tritter-accel, f32",
    color: "#e08e0b",
    weight_bytes: 1 / 4,
    has: (row) => isOurs(row) && row.activations === "f32",
  },
  {
    name: "onnxruntime, 2-bit",
    color: "#2e7d32",
    weight_bytes: 1 / 4,
    has: (row) => row.subject === "ORT 2-bit",
  },
  {
    name: "OpenBLAS, fp32",
    color: "#1f5fa8",
    weight_bytes: 4,
    label_offset: 17,
    has: (row) => row.subject === "OpenBLAS fp32",
  },
  {
    name: "onnxruntime, fp32",
    color: "#6c4ab0",
    weight_bytes: 4,
    has: (row) => row.subject === "ORT fp32",
  },
  {
    name: "TypeScript, 1 thread",
    color: "#555555",
    weight_bytes: 4,
    has: (row) => row.subject === "TypeScript",
  },
];

function text(left: number, top: number, value: string, style = ""): string {
  const safe = value.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${at(left)}" y="${at(top)}" ${style}>${safe}</text>`;
}

function axes(y: Height, most: number): string[] {
  const parts: string[] = [];
  for (let value = X_LOW; value <= X_HIGH; value *= 2) {
    parts.push(
      `<line class="grid" x1="${at(x(value))}" x2="${at(x(value))}" y1="${TOP}" y2="${BOTTOM}"/>`,
    );
    const isLabelled = Math.log2(value) % 2 === 0;
    if (isLabelled) {
      parts.push(
        text(x(value), BOTTOM + 20, `${value}`, 'text-anchor="middle"'),
      );
    }
  }
  for (let value = Y_LOW; value <= most; value *= 10) {
    parts.push(
      `<line class="grid" x1="${LEFT}" x2="${RIGHT}" y1="${at(y(value))}" y2="${at(y(value))}"/>`,
      text(
        LEFT - 8,
        y(value) + 4,
        value.toLocaleString("en-US"),
        'text-anchor="end"',
      ),
    );
  }
  const middle = (TOP + BOTTOM) / 2;
  parts.push(
    text(
      (LEFT + RIGHT) / 2,
      BOTTOM + 48,
      "operations for each byte of weights (a multiply-add is two)",
      'text-anchor="middle" class="title"',
    ),
    text(
      24,
      middle,
      "GOP/s",
      `text-anchor="middle" class="title" transform="rotate(-90 24 ${middle})"`,
    ),
  );
  return parts;
}

/** Slanted roofs are memory, level ones arithmetic. */
function ceilings({ limits }: Measured, y: Height, highest: number): string[] {
  const parts: string[] = [];
  for (const { name, median, unit } of limits) {
    const isLevel = unit === "GOP/s";
    if (!isLevel && !/ (4 MiB|1 GiB)$/.test(name)) continue;
    const label = `${name}: ${digits(median)} ${unit}`;
    if (isLevel) {
      const height = at(y(median));
      parts.push(
        `<line class="roof" x1="${LEFT}" x2="${RIGHT}" y1="${height}" y2="${height}"/>`,
      );
      parts.push(text(RIGHT + 8, y(median) + 4, label));
    } else {
      const from = Math.max(X_LOW, Y_LOW / median);
      const to = Math.min(X_HIGH, highest / median);
      const [x1, y1, x2, y2] = [
        x(from),
        y(from * median),
        x(to),
        y(to * median),
      ];
      parts.push(
        `<line class="roof" x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}"/>`,
      );
      const angle = Math.atan2(y2 - y1, x2 - x1) * 180 / Math.PI;
      const turn = `transform="translate(${at(x1)} ${at(y1)}) rotate(${at(angle)})"`;
      parts.push(text(10, -6, label, turn));
    }
  }
  return parts;
}

function points(rows: readonly Row[], series: Series, y: Height): string[] {
  const { color, weight_bytes, label_offset, has } = series;
  const spots = rows.filter(has).map((row) => {
    const [outputs, inputs] = row.shape!;
    const operations = 2 * outputs * inputs * row.batch!;
    const left = x(operations / (outputs * inputs * weight_bytes));
    return {
      left,
      top: y(operations / row.median_us / 1000),
      batch: row.batch!,
    };
  });
  const path = spots.map(({ left, top }) => `${at(left)},${at(top)}`).join(" ");
  return [
    `<polyline points="${path}" fill="none" stroke="${color}" stroke-opacity="0.5"/>`,
    ...spots.flatMap(({ left, top, batch }) => [
      `<circle cx="${at(left)}" cy="${at(top)}" r="4.5" fill="${color}"/>`,
      ...(label_offset === undefined ? [] : [
        text(
          left,
          top + label_offset,
          `${batch}`,
          'text-anchor="middle" class="small"',
        ),
      ]),
    ]),
  ];
}

const STYLE = `text { font: 13px sans-serif; fill: #222 } .title { font-size: 15px }
.head { font-size: 17px; font-weight: bold } .small { font-size: 10px; paint-order: stroke; stroke: white; stroke-width: 3px }
.grid { stroke: #e4e4e4 } .roof { stroke: #222; stroke-width: 1.5; stroke-dasharray: 6 3 }`;

/** The plot of one process; undefined when it measured no products. */
export function roofline(report: Report): string | undefined {
  const process = report.processes.find(({ rows, forced }) =>
    !forced && rows.some((row) => row.suite === "products")
  );
  if (process === undefined) return undefined;
  const products = process.rows.filter((row) => row.suite === "products");
  // The 4096 x 4096 of a full run, or whatever has been measured.
  const square = products.filter((row) => row.shape?.join() === "4096,4096");
  const shape = (square[0] ?? products[0]!).shape!;
  const rows = products.filter((row) => row.shape?.join() === shape.join());
  const peaks = process.limits.filter(({ unit }) => unit === "GOP/s").map((
    { median },
  ) => median);
  const highest = Math.max(1, ...peaks);
  const most = 3 * highest;
  const y = heightUpTo(most);
  const legend = SERIES.flatMap(({ name, color }, index) => {
    const top = BOTTOM - 150 + index * 22;
    return [
      `<circle cx="${RIGHT + 20}" cy="${top - 4}" r="4.5" fill="${color}"/>`,
      text(RIGHT + 32, top, name),
    ];
  });
  const head = `Products of ${shape.join(" x ")} weights, ${process.runtime}, ${process.isa}, ` +
    `${process.threads} threads`;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}">`,
    `<title>${head}</title>`,
    `<style>${STYLE}</style>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    text(LEFT, 30, head, 'class="head"'),
    text(LEFT, 49, `${report.processor}, ${report.date}; labels: batch sizes`),
    ...axes(y, most),
    ...ceilings(process, y, highest),
    ...SERIES.flatMap((series) => points(rows, series, y)),
    ...legend,
    "</svg>",
  ];
  return `${parts.join("\n")}\n`;
}
