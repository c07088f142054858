/** Tables as text. */

import { formatDuration } from "../../base/format.ts";

/** Columns under their titles, each as wide as needed. */
export function renderTable(titles: string[], rows: string[][]): string {
  const all = [titles, ...rows];
  const widths = titles.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  return all.map((row) => row.map((cell, column) => cell.padEnd(widths[column])).join("  ").trimEnd()).join("\n");
}

/** How long ago a time was, ISO 8601: exactly, and after three days in days. */
export function age(time: string | undefined): string {
  const seconds = (Date.now() - Date.parse(time ?? "")) / 1000;
  const days = Math.floor(seconds / 86_400);
  return days < 3 || Number.isNaN(days) ? formatDuration(Math.abs(seconds)) : `${days}d`;
}
