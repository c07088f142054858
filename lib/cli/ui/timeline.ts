/** Timelines as text. */

import type { Phase } from "../../base/timeline.ts";

const BAR = 40;

/** A title and its phases. */
export interface Titled {
  title: string;
  phases: Phase[];
}

/** A duration for people: `9 ms`, `0.63 s`, `26.3 s`. */
export function milliseconds(ms: number): string {
  if (ms < 100) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

/** Each phase with its duration, and a bar from its start to its end; all bars of one call share a scale. */
export function renderTimelines(timelines: Titled[]): string {
  const all = timelines.flatMap(({ phases }) => phases);
  const width = Math.max(...all.map(({ name }) => name.length));
  const end = Math.max(...all.map(({ endMs }) => endMs));
  return timelines.map(({ title, phases }) => {
    const total = Math.max(...phases.map(({ endMs }) => endMs));
    const rows = phases.toSorted((a, b) => a.startMs - b.startMs).map(({ name, startMs, endMs }) => {
      const from = Math.floor((startMs / end) * BAR);
      const length = Math.max(1, Math.round(((endMs - startMs) / end) * BAR));
      const bar = (" ".repeat(from) + "█".repeat(length)).slice(0, BAR).padEnd(BAR);
      return `  ${name.padEnd(width)}  ${milliseconds(endMs - startMs).padStart(8)}  ${bar}`.trimEnd();
    });
    return [`${title}: ${milliseconds(total)}`, ...rows].join("\n");
  }).join("\n");
}
