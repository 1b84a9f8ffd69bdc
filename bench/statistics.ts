/** The few numbers that a benchmark is summed up in. Pure. */

/** The middle value; the mean of the two middle ones of an even count; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle] ?? NaN;
  return ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}

export interface RatioSummary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Rounds that have both values. */
  readonly rounds: number;
}

/**
 * The ratios of two series, round by round: what disturbs a round disturbs both sides of its ratio,
 * which the ratio of two medians would not cancel. Undefined where no round has both.
 */
export function ratiosOf(
  ours: ReadonlyMap<number, number>,
  theirs: ReadonlyMap<number, number>,
): RatioSummary | undefined {
  const ratios: number[] = [];
  for (const [round, value] of ours) {
    const other = theirs.get(round);
    if (other !== undefined && other > 0 && value > 0) ratios.push(value / other);
  }
  if (ratios.length === 0) return undefined;
  return { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios), rounds: ratios.length };
}

/** Each round starts with the next server, so that none always runs first, after the same neighbour or on a warm cache. */
export function rotated<Item>(items: readonly Item[], by: number): Item[] {
  if (items.length === 0) return [];
  const start = by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}
