// Loss against steps as an SVG image.

import { checkList, checkOptions, describe } from "../checks.ts";
import { tritterError } from "../errors.ts";

/** A loss at a step. */
export type LossPoint = readonly [step: number, loss: number];

/** What `drawLossCurve` draws. */
export interface LossCurve {
  /** Losses of the batches that were learnt from. */
  train: readonly LossPoint[];
  /** Losses on what is held out. */
  validation?: readonly LossPoint[] | undefined;
  /** What stands above. Default: `"Loss"`. */
  title?: string | undefined;
}

const WIDTH = 760;
const HEIGHT = 440;
const LEFT = 60;
const RIGHT = 24;
const TOP = 56;
const BOTTOM = 48;
const INNER_WIDTH = WIDTH - LEFT - RIGHT;
const INNER_HEIGHT = HEIGHT - TOP - BOTTOM;
const TRAIN = "#1f6fb4";
const VALIDATION = "#c8501e";
/** More points than the image has columns would only make the file larger. */
const MOST_POINTS = INNER_WIDTH / 2;

/**
 * Draws training and validation losses as an SVG image; points that are not finite are left out.
 *
 * Where there are more training steps than fit, each point is the mean of its neighbours. The best
 * validation loss is written beside the title.
 *
 * @example
 * ```ts
 * import { drawLossCurve } from "tritter-accel";
 *
 * const svg = drawLossCurve({ train: [[1, 7.6], [2, 6.9], [3, 6.5]], validation: [[3, 6.7]] });
 * console.log(svg.startsWith("<svg")); // true
 * ```
 */
export function drawLossCurve(curve: LossCurve): string {
  const { title = "Loss", train, validation = [] } = checkOptions(curve, "curve");
  if (typeof title !== "string") {
    throw tritterError("invalid_type", `title must be a string, got ${describe(title)}`);
  }
  const lines = [
    { points: thin(finite(train, "train")), colour: TRAIN, name: "training" },
    { points: finite(validation, "validation"), colour: VALIDATION, name: "validation" },
  ].filter(({ points }) => points.length > 0);
  const all = lines.flatMap(({ points }) => points);
  const x = scaleOf(all.map(([step]) => step), INNER_WIDTH, 8);
  const y = scaleOf(all.map(([, loss]) => loss), INNER_HEIGHT, 6);
  const place = ([step, loss]: LossPoint) =>
    `${round(LEFT + x.at(step))},${round(TOP + INNER_HEIGHT - y.at(loss))}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" ` +
    `height="${HEIGHT}" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="13" ` +
    `fill="#222" role="img">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    text(
      LEFT,
      26,
      title + best(finite(validation, "validation")),
      `font-size="17" font-weight="600"`,
    ),
    ...x.ticks.map((tick) => verticalGrid(LEFT + x.at(tick), tick)),
    ...y.ticks.map((tick) => horizontalGrid(TOP + INNER_HEIGHT - y.at(tick), tick)),
    text(LEFT + INNER_WIDTH / 2, HEIGHT - 10, "step", `text-anchor="middle" fill="#555"`),
    text(LEFT, TOP - 10, "loss, nats per token", `fill="#555"`),
    ...lines.map(({ points, colour }) =>
      `<polyline points="${points.map(place).join(" ")}" fill="none" stroke="${colour}" ` +
      `stroke-width="1.6" stroke-linejoin="round"/>`
    ),
    ...lines.map(({ colour, name }, index) =>
      text(
        WIDTH - RIGHT - 8,
        TOP + 16 + 18 * index,
        name,
        `text-anchor="end" fill="${colour}" font-weight="600"`,
      )
    ),
    "</svg>",
    "",
  ].join("\n");
}

const ESCAPED: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };

function text(x: number, y: number, content: string, attributes: string): string {
  const escaped = content.replace(/[&<>]/g, (character) => ESCAPED[character]!);
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}>${escaped}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function finite(points: readonly LossPoint[], name: string): LossPoint[] {
  return checkList(points, name).filter((point, index) => {
    const [step, loss] = checkList(point, `${name}[${index}]`);
    return Number.isFinite(step) && Number.isFinite(loss);
  });
}

/** Means of as many neighbours as it takes to have few enough points. */
function thin(points: readonly LossPoint[]): LossPoint[] {
  const size = Math.ceil(points.length / MOST_POINTS);
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const thinned: LossPoint[] = [];
  for (let start = 0; start < points.length; start += size) {
    const part = points.slice(start, start + size);
    thinned.push([mean(part.map(([step]) => step)), mean(part.map(([, loss]) => loss))]);
  }
  return thinned;
}

function best(validation: readonly LossPoint[]): string {
  if (validation.length === 0) return "";
  const [step, loss] = validation.reduce((a, b) => b[1] < a[1] ? b : a);
  return `: validation ${loss.toFixed(3)} at step ${step}`;
}

/** Maps values to pixels, with round numbers between them to write at the axis. */
function scaleOf(
  values: readonly number[],
  pixels: number,
  mostTicks: number,
): { at: (value: number) => number; ticks: number[] } {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (low > high) return { at: () => 0, ticks: [] };
  const span = high - low || 1;
  const rough = span / mostTicks;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough)!;
  const ticks: number[] = [];
  for (let index = Math.ceil(low / step); index * step <= high; index += 1) {
    ticks.push(Number((index * step).toPrecision(12)));
  }
  return { at: (value) => (value - low) / span * pixels, ticks };
}

function verticalGrid(x: number, tick: number): string {
  const y = TOP + INNER_HEIGHT;
  return `<path d="M${round(x)} ${TOP}V${y}" stroke="#e4e4e4"/>` +
    text(x, y + 18, String(tick), `text-anchor="middle" fill="#555"`);
}

function horizontalGrid(y: number, tick: number): string {
  return `<path d="M${LEFT} ${round(y)}h${INNER_WIDTH}" stroke="#e4e4e4"/>` +
    text(LEFT - 8, y + 4, String(tick), `text-anchor="end" fill="#555"`);
}
