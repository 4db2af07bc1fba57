// How numbers and tables look to people.

/** A size as people read it, in powers of ten. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

/** A share of 1 as a percentage. */
export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Lines with columns as wide as what is in them; columns of numbers go to the right. */
export function table(rows: readonly (readonly (string | number)[])[]): string {
  const texts = rows.map((row) => row.map(String));
  const widths = (texts[0] ?? []).map((_, at) => Math.max(...texts.map((row) => row[at]!.length)));
  // A heading stands over numbers as they do.
  const right = widths.map((_, at) => texts.slice(-1).every((row) => /^[-\d]/.test(row[at]!)));
  const lines = texts.map((row) =>
    row.map((text, at) => right[at] ? text.padStart(widths[at]!) : text.padEnd(widths[at]!))
      .join("  ").trimEnd()
  );
  return `${lines.join("\n")}\n`;
}

/** Names and values, one a line. */
export function fields(values: Readonly<Record<string, string | number>>): string {
  return table(Object.entries(values).map(([name, value]) => [name, ` ${value}`]));
}

/** The middle of some numbers. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
