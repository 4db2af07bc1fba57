// Loss against backward passes, and against time, as an SVG.

import type { Point } from "./runs.ts";

/** One line in both panels. */
export interface Curve {
  name: string;
  points: readonly Point[];
}

const WIDTH = 1060;
const HEIGHT = 420;
const TOP = 50;
const BOTTOM = 370;
/** Left and right ends of the two panels. */
const PANELS = [[60, 380], [450, 770]] as const;
const LEGEND = 795;
const COLORS = ["#111111", "#1f77b4", "#d62728", "#ff7f0e", "#9467bd", "#2ca02c"] as const;

const number = (value: number) => value.toFixed(1);
const escape = (text: string) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

interface Axes {
  least: number;
  most: number;
  xMost: number;
  left: number;
  right: number;
}

const x = ({ left, right, xMost }: Axes, value: number) => left + (right - left) * value / xMost;

/** Losses that are off the scale are drawn at its end. */
function y({ least, most }: Axes, loss: number): number {
  const bounded = Math.min(Math.max(loss, least), most);
  return BOTTOM - (BOTTOM - TOP) * (bounded - least) / (most - least);
}

/** A round step that cuts a range into four to ten parts. */
function tickStep(range: number): number {
  const power = 10 ** Math.floor(Math.log10(range / 4));
  return [5, 2, 1].map((digit) => digit * power).find((step) => range / step >= 4) ?? power;
}

function drawAxes(axes: Axes, label: string): string[] {
  const lines = [
    `<path d="M${axes.left} ${TOP}V${BOTTOM}H${axes.right}" fill="none" stroke="#444"/>`,
    `<text x="${(axes.left + axes.right) / 2}" y="${
      BOTTOM + 36
    }" text-anchor="middle">${label}</text>`,
  ];
  const xStep = tickStep(axes.xMost);
  for (let value = 0; value <= axes.xMost * 1.0001; value += xStep) {
    lines.push(
      `<text x="${number(x(axes, value))}" y="${BOTTOM + 18}" text-anchor="middle">${
        Number(value.toPrecision(6))
      }</text>`,
    );
  }
  const yStep = tickStep(axes.most - axes.least);
  for (let loss = Math.ceil(axes.least / yStep) * yStep; loss <= axes.most; loss += yStep) {
    const at = number(y(axes, loss));
    lines.push(
      `<path d="M${axes.left} ${at}H${axes.right}" stroke="#ddd"/>`,
      `<text x="${axes.left - 6}" y="${at}" text-anchor="end" dy="4">${loss.toFixed(2)}</text>`,
    );
  }
  return lines;
}

/** Draws the curves in two panels with the same losses. */
export function drawCurves(title: string, curves: readonly Curve[]): string {
  const losses = curves.flatMap(({ points }) => points.map(({ loss }) => loss))
    .filter((loss) => Number.isFinite(loss));
  const least = Math.floor(Math.min(...losses) * 10) / 10;
  // The first losses are those of no training: what comes after them is of interest.
  const later = curves.flatMap(({ points }) => points.slice(2).map(({ loss }) => loss))
    .filter((loss) => Number.isFinite(loss));
  const most = Math.max(Math.ceil(Math.max(...later, least) * 10) / 10, least + 0.1);
  const measures = [
    { label: "backward passes", of: (point: Point) => point.backwardPasses },
    { label: "seconds", of: (point: Point) => point.milliseconds / 1000 },
  ];
  const panels = measures.flatMap(({ label, of }, panel) => {
    const [left, right] = PANELS[panel]!;
    const xMost = Math.max(...curves.flatMap(({ points }) => points.map(of)), 1e-9);
    const axes = { least, most, xMost, left, right };
    return [
      ...drawAxes(axes, label),
      ...curves.map(({ points }, at) => {
        const path = points.filter(({ loss }) => Number.isFinite(loss))
          .map((point) => `${number(x(axes, of(point)))} ${number(y(axes, point.loss))}`).join("L");
        const color = COLORS[at % COLORS.length];
        return `<path d="M${path}" fill="none" stroke="${color}" stroke-width="1.8"/>`;
      }),
    ];
  });
  const legend = curves.map(({ name }, at) => {
    const height = TOP + 14 + 22 * at;
    const color = COLORS[at % COLORS.length];
    return `<path d="M${LEGEND} ${height - 4}h18" stroke="${color}" stroke-width="3"/>` +
      `<text x="${LEGEND + 24}" y="${height}">${escape(name)}</text>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    `<text x="${PANELS[0][0]}" y="26" font-size="15">${escape(title)}</text>`,
    ...panels,
    ...legend,
    "</svg>",
    "",
  ].join("\n");
}
