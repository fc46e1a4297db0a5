/** Order statistics of repeated measurements. */

/** What a series of values comes to; unit as the values'. */
export interface Summary {
  readonly count: number;
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
  /** Half the distance between the first and the third quartile. */
  readonly spread: number;
}

/** The value below which a share of sorted values lies, between neighbours in proportion. */
export function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** @param values at least one; all fields are NaN for none */
export function summarise(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  return {
    count: sorted.length,
    median: quantile(sorted, 0.5),
    lowest: quantile(sorted, 0),
    highest: quantile(sorted, 1),
    spread: (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / 2,
  };
}

/** Slope of the straight line through points by least squares; NaN for fewer than two x. */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const x = mean(points.map(([value]) => value));
  const y = mean(points.map(([, value]) => value));
  const above = points.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0);
  const below = points.reduce((sum, [a]) => sum + (a - x) ** 2, 0);
  return above / below;
}
