// Means, spreads and trends of a series of losses.

/** Statistics of the losses in a window. */
export interface LossStatistics {
  /** Number of losses. */
  count: number;
  /** Their mean. */
  mean: number;
  /** Population variance. */
  variance: number;
  /** Square root of the variance. */
  stdDev: number;
  /** The least loss. */
  min: number;
  /** The largest loss. */
  max: number;
  /** The middle loss, or the mean of the two in the middle. */
  median: number;
}

/** The mean of at least one number. */
export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The statistics of at least one number. */
export function statisticsOf(values: readonly number[]): LossStatistics {
  const mean = meanOf(values);
  const variance = meanOf(values.map((value) => (value - mean) ** 2));
  const sorted = values.toSorted((a, b) => a - b);
  const middle = values.length >> 1;
  const median = values.length % 2 === 1
    ? sorted[middle]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return {
    count: values.length,
    mean,
    variance,
    stdDev: Math.sqrt(variance),
    min: sorted[0]!,
    max: sorted.at(-1)!,
    median,
  };
}
