// Draws which languages were taken for which.

export interface Confusion {
  /** Names of the classes, in the order of the rows and columns. */
  labels: readonly string[];
  /** `counts[actual][predicted]`: how many sentences there are of each kind. */
  counts: readonly (readonly number[])[];
}

const CELL = 36;
const LEFT = 138;
const TOP = 168;
const RIGHT = 96;
const BOTTOM = 64;

/** The share of all that lies on the diagonal, and the mean of the rows' shares. */
export function measureAccuracy({ counts }: Confusion): { accuracy: number; mean: number } {
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const rows = counts.map((row, i) => ({ right: row[i] ?? 0, all: sum(row) }))
    .filter(({ all }) => all > 0);
  return {
    accuracy: sum(rows.map(({ right }) => right)) / sum(rows.map(({ all }) => all)),
    mean: sum(rows.map(({ right, all }) => right / all)) / rows.length,
  };
}

const percent = (share: number, digits = 1) => `${(100 * share).toFixed(digits)} %`;

const ESCAPED: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };

function text(x: number, y: number, content: string, attributes = ""): string {
  const escaped = content.replace(/[&<>]/g, (character) => ESCAPED[character]!);
  return `<text x="${x}" y="${y}"${attributes && " "}${attributes}>${escaped}</text>`;
}

/** From white to the colour as the share goes from 0 to 1; the root lets small shares be seen. */
function shade([red, green, blue]: readonly [number, number, number], share: number): string {
  const mix = (value: number) => Math.round(255 + (value - 255) * Math.sqrt(share));
  return `rgb(${mix(red)},${mix(green)},${mix(blue)})`;
}

/** One row: its label, its cells and how many sentences it has. */
function drawRow(confusion: Confusion, actual: number): string[] {
  const row = confusion.counts[actual]!;
  const all = row.reduce((a, b) => a + b, 0);
  const y = TOP + actual * CELL;
  const middle = y + CELL / 2 + 4;
  const parts = [text(LEFT - 8, middle, confusion.labels[actual]!, `text-anchor="end"`)];
  for (const [predicted, count] of row.entries()) {
    const x = LEFT + predicted * CELL;
    const right = predicted === actual;
    if (count === 0 && !right) continue;
    const share = all === 0 ? 0 : count / all;
    const fill = shade(right ? [31, 111, 180] : [200, 40, 30], share);
    const content = right ? (100 * share).toFixed(share === 1 ? 0 : 1) : String(count);
    const ink = share > 0.3 ? "#fff" : "#222";
    parts.push(
      `<rect x="${x}" y="${y}" width="${CELL}" height="${CELL}" fill="${fill}"/>`,
      text(x + CELL / 2, middle, content, `text-anchor="middle" font-size="12" fill="${ink}"`),
    );
  }
  const right = LEFT + row.length * CELL + 8;
  parts.push(text(right, middle, String(all), `font-size="12" fill="#666"`));
  return parts;
}

function drawGrid(size: number): string {
  const end = size * CELL;
  const lines = Array.from({ length: size + 1 }, (_, i) => {
    const at = i * CELL;
    return `M${LEFT} ${TOP + at}h${end}M${LEFT + at} ${TOP}v${end}`;
  });
  return `<path d="${lines.join("")}" stroke="#ddd" fill="none"/>`;
}

/**
 * A confusion matrix as an SVG image: a row for every language, a column for what it was taken for.
 *
 * The diagonal shows the percentage of the row that was recognised, every other cell the number of
 * sentences, where there are any. The title states the accuracy.
 *
 * @throws {RangeError} Where `counts` has not as many rows and columns as there are labels.
 */
export function drawConfusion(confusion: Confusion, title = "Language identification"): string {
  const { labels, counts } = confusion;
  const size = labels.length;
  if (counts.length !== size || counts.some((row) => row.length !== size)) {
    throw new RangeError(`counts must have ${size} rows and columns, one for each label`);
  }
  const { accuracy, mean } = measureAccuracy(confusion);
  const total = counts.flat().reduce((a, b) => a + b, 0);
  const width = Math.max(LEFT + size * CELL + RIGHT, 620);
  const height = TOP + size * CELL + BOTTOM;
  const center = LEFT + size * CELL / 2;
  const middle = TOP + size * CELL / 2;
  const facts = `${total} held-out sentences, ${size} languages; ` +
    `mean of the languages ${percent(mean)}`;
  const legend =
    "Diagonal: percent of the row that was recognised. Elsewhere: number of sentences.";
  const columns = labels.map((label, i) => {
    const x = LEFT + i * CELL + CELL / 2 + 4;
    return text(x, TOP - 8, label, `transform="rotate(-50 ${x} ${TOP - 8})"`);
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" ` +
    `height="${height}" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="14" ` +
    `fill="#222" role="img">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    text(24, 34, `${title}: ${percent(accuracy, 2)} right`, `font-size="20" font-weight="600"`),
    text(24, 58, facts, `fill="#555"`),
    drawGrid(size),
    ...columns,
    ...labels.flatMap((_, actual) => drawRow(confusion, actual)),
    text(
      28,
      middle,
      "language",
      `text-anchor="middle" fill="#555" transform="rotate(-90 28 ${middle})"`,
    ),
    text(LEFT + size * CELL + 8, TOP - 8, "sentences", `font-size="12" fill="#666"`),
    text(center, height - 38, "taken for", `text-anchor="middle" fill="#555"`),
    text(24, height - 14, legend, `font-size="12" fill="#666"`),
    "</svg>",
    "",
  ].join("\n");
}
