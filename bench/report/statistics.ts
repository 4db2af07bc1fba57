/** The value below which a share of the sorted samples lies, interpolated. */
export function quantile(sorted: readonly number[], share: number): number {
  const position = (sorted.length - 1) * share;
  const below = Math.floor(position);
  const rest = position - below;
  const low = sorted[below]!;
  return rest === 0 ? low : low + (sorted[below + 1]! - low) * rest;
}

export const sortedCopy = (samples: readonly number[]): number[] =>
  [...samples].sort((a, b) => a - b);

export const median = (samples: readonly number[]): number => quantile(sortedCopy(samples), 0.5);

/** Median and spread, as rows have them. */
export function spread(
  samples_us: readonly number[],
): { median_us: number; p10_us: number; p90_us: number } {
  const sorted = sortedCopy(samples_us);
  return {
    median_us: quantile(sorted, 0.5),
    p10_us: quantile(sorted, 0.1),
    p90_us: quantile(sorted, 0.9),
  };
}
