/** The benchmarks' results, and how they are shown. */

/** One figure, from several runs. */
export interface Figure {
  /** What was measured, and compared with what. */
  name: string;
  unit: "ratio" | "s" | "MiB";
  value: number;
  /** The limits. */
  target?: { atLeast?: number; atMost?: number };
  /** What the samples are, if not what the unit says: those of a ratio are seconds by default. */
  of?: "MiB";
  /** The samples behind it: each run's seconds or MiB, by what was run. */
  samples: Record<string, number[]>;
}

/** The scale of a measurement. */
export interface Scale {
  /** About how long it takes, in seconds, on two CPUs without hardware acceleration. */
  seconds: number;
}

/** One subject. */
export interface Bench<S extends Scale = Scale> {
  /** What is measured. */
  about: string;
  /** The scale for figures that are judged. */
  full: S;
  /** The smallest scale that runs all of it. */
  smoke: S;
  /** @throws {Skipped} if it cannot be measured here. */
  measure(scale: S): Promise<Figure[]>;
}

/** Why a subject cannot be measured here. */
export class Skipped extends Error {}

/** The middle of the values, or the mean of the middle two. */
export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The ratio of two medians. */
export function ratio(
  name: string,
  samples: Record<string, number[]>,
  [over, under]: [string, string],
  target?: Figure["target"],
): Figure {
  const { [over]: above, [under]: below } = samples;
  return {
    name,
    unit: "ratio",
    value: median(above) / median(below),
    target,
    samples: { [over]: above, [under]: below },
  };
}

/** Whether it is within its limits. */
export function isMet({ value, target = {} }: Figure): boolean {
  return value >= (target.atLeast ?? -Infinity) && value <= (target.atMost ?? Infinity);
}

/** Its value. */
export function formatFigure({ value, unit }: Figure): string {
  return value.toFixed(3) + (unit === "ratio" ? "" : ` ${unit}`);
}

/** Its limit; empty if it has none. */
export function formatTarget({ target: { atLeast, atMost } = {} }: Figure): string {
  return atLeast !== undefined ? `≥ ${atLeast}` : atMost !== undefined ? `≤ ${atMost}` : "";
}

/** The medians behind it, and of how many runs each is. */
export function formatMedians({ samples, unit, of }: Figure): string {
  const each = of ?? (unit === "MiB" ? unit : "s");
  return Object.entries(samples)
    .map(([what, values]) => `${what} ${median(values).toFixed(3)} ${each} (${values.length})`)
    .join(", ");
}

/** The figures as lines of a table, each with its medians. */
export function table(figures: Figure[]): string {
  const rows = figures.map((figure) => {
    const target = formatTarget(figure);
    return [
      formatFigure(figure),
      target,
      target && (isMet(figure) ? "met" : "MISSED"),
      figure.name,
      formatMedians(figure),
    ];
  });
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column].length))) ?? [];
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column])).join("  ").trimEnd()).join("\n");
}

/** Seconds that `work` takes. */
export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1000;
}
