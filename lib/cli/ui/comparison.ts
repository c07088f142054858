/** Two runs side by side, step by step. */

import { formatMilliseconds } from "../../base/format.ts";
import type { Phase } from "../../base/timeline.ts";
import { fit, type Look, nameWidth } from "./timeline.ts";

/** What a step took in each of two runs, in milliseconds. */
export interface ComparedStep {
  name: string;
  /** Absent if that run has no such step. */
  olderMs?: number;
  newerMs?: number;
  /** The newer time divided by the older, if there are both and the older is not 0. */
  ratio?: number;
}

/** Two runs that are compared. */
export interface Compared {
  ms: number;
  timeline: Phase[];
}

/**
 * The steps of both runs in the order of their begins, the newer run's first where they differ; a step that comes several
 * times in a run is compared with the other's of the same turn.
 */
export function compareSteps(older: Compared, newer: Compared): ComparedStep[] {
  const [before, now] = [byTurn(older.timeline), byTurn(newer.timeline)];
  const names = [...new Set([...now.keys(), ...before.keys()])];
  return names.map((key) =>
    compared(now.get(key)?.name ?? before.get(key)!.name, before.get(key)?.ms, now.get(key)?.ms)
  );
}

/** What both took in all. */
export function compareTotals(older: Compared, newer: Compared): ComparedStep {
  return compared("total", older.ms, newer.ms);
}

function compared(name: string, olderMs: number | undefined, newerMs: number | undefined): ComparedStep {
  return {
    name,
    ...(olderMs !== undefined && { olderMs }),
    ...(newerMs !== undefined && { newerMs }),
    ...(olderMs !== undefined && olderMs > 0 && newerMs !== undefined && { ratio: newerMs / olderMs }),
  };
}

function byTurn(phases: Phase[]): Map<string, { name: string; ms: number }> {
  const turns = new Map<string, number>();
  return new Map(
    phases.toSorted((a, b) => a.startMs - b.startMs).map(({ name, startMs, endMs }) => {
      const turn = (turns.get(name) ?? 0) + 1;
      turns.set(name, turn);
      const ms = Math.round((endMs - startMs) * 10) / 10;
      return [`${turn} ${name}`, { name: turn === 1 ? name : `${name} (${turn})`, ms }];
    }),
  );
}

const [TIME, RATIO] = [8, 6];

/** A ratio for people. */
export function formatRatio(ratio: number | undefined): string {
  if (ratio === undefined) return "-";
  return ratio >= 100 ? ratio.toFixed(0) : ratio >= 10 ? ratio.toFixed(1) : ratio.toFixed(2);
}

/** A table of the steps and their total, with a bar each: what both took, then what the newer took less or more. */
export function renderComparison(steps: ComparedStep[], total: ComparedStep, look: Look): string {
  const others = 3 * 2 + 2 * TIME + RATIO;
  const width = nameWidth(["total", ...steps.map(({ name }) => name)], look, others);
  const bar = look.columns - 2 - width - others - 2;
  const longest = Math.max(1, ...steps.flatMap(({ olderMs = 0, newerMs = 0 }) => [olderMs, newerMs]));
  const drawn = ({ olderMs = 0, newerMs = 0 }: ComparedStep) => {
    const [less, more] = [olderMs, newerMs].map((ms) => Math.round(ms / longest * bar)).sort((a, b) => a - b);
    return (look.isAscii ? "#" : "█").repeat(less) + (newerMs < olderMs ? "-" : "+").repeat(more - less);
  };
  const line = (name: string, [older, newer, ratio]: string[], end = "") =>
    `  ${fit(name, width, look)}  ${older.padStart(TIME)}  ${newer.padStart(TIME)}  ${ratio.padStart(RATIO)}  ${end}`
      .trimEnd();
  const cells = ({ olderMs, newerMs, ratio }: ComparedStep) => [
    ...[olderMs, newerMs].map((ms) => ms === undefined ? "-" : formatMilliseconds(ms)),
    formatRatio(ratio),
  ];
  const hasBars = bar >= 8;
  return [
    line("", ["older", "newer", "ratio"], bar >= 24 ? "- less, + more" : ""),
    ...steps.map((step) => line(step.name, cells(step), hasBars ? drawn(step) : "")),
    line("total", cells(total)),
  ].join("\n");
}
