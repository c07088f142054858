/** Timelines as text. */

import { formatMilliseconds } from "../../base/format.ts";
import type { Phase } from "../../base/timeline.ts";
import { columnsOf } from "./display.ts";

/** How wide the text may be, and of which characters the drawing is. */
export interface Look {
  /** Columns: at least 20. */
  columns: number;
  /** Draw with ASCII only. */
  isAscii: boolean;
}

/** A title and its phases. */
export interface Titled {
  title: string;
  phases: Phase[];
  /** How long all of it took, in milliseconds, if that is more than its phases. */
  ms?: number;
}

const WIDEST = 80;
const NARROWEST = 20;
const TIME = 8;
const LEAST_BAR = 8;

/** The look for a stream: that of a terminal if it is one. */
export function lookOf(stream: { isTerminal(): boolean }): Look {
  return { columns: Math.min(WIDEST, Math.max(NARROWEST, columnsOf(stream))), isAscii: !stream.isTerminal() };
}

/** Each phase with its duration, and a bar from its start to its end; all bars of one call share a scale. */
export function renderTimelines(timelines: Titled[], look: Look): string {
  const all = timelines.flatMap(({ phases }) => phases);
  const end = Math.max(0, ...timelines.map(totalOf));
  const width = nameWidth(all.map(({ name }) => name), look, TIME + 2);
  const bar = look.columns - 2 - width - 2 - TIME - 2;
  const [full, cross] = look.isAscii ? ["#", "!"] : ["█", "✗"];
  return timelines.map((titled) => {
    const rows = titled.phases.toSorted((a, b) => a.startMs - b.startMs).map(({ name, startMs, endMs, failed }) => {
      const length = Math.min(bar, Math.max(1, Math.round(((endMs - startMs) / end) * bar) || 1));
      const from = Math.min(bar - length, Math.floor((startMs / end) * bar) || 0);
      const drawn = bar < LEAST_BAR ? "" : " ".repeat(from) + full.repeat(length);
      const time = formatMilliseconds(endMs - startMs).padStart(TIME);
      return `${failed ? cross : " "} ${fit(name, width, look)}  ${time}  ${drawn}`.trimEnd();
    });
    return [`${titled.title}: ${formatMilliseconds(totalOf(titled))}`, ...rows].join("\n");
  }).join("\n");
}

function totalOf({ phases, ms }: Titled): number {
  return Math.max(ms ?? 0, ...phases.map(({ endMs }) => endMs));
}

/** How much room names get, beside `others` columns and a bar: all that they need, if there is so much. */
export function nameWidth(names: string[], { columns }: Look, others: number): number {
  const needed = Math.max(0, ...names.map((name) => name.length));
  const room = columns - 4 - others - LEAST_BAR;
  return Math.max(4, Math.min(needed, room > 12 ? room : columns - 4 - others));
}

/** A text in exactly so many columns. */
export function fit(text: string, width: number, { isAscii }: Look): string {
  // deno-lint-ignore no-control-regex -- all of ASCII
  const shown = isAscii ? text.replaceAll(/[^\x00-\x7f]/g, "?") : text;
  const [more, length] = isAscii ? ["...", 3] : ["…", 1];
  return (shown.length > width ? shown.slice(0, Math.max(0, width - length)) + more : shown).slice(0, width)
    .padEnd(width);
}
