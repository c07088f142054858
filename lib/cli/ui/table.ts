/** Tables as text. Where a table is too wide for the terminal, each row becomes a paragraph of its own. */

import { formatSpan } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { print } from "./console.ts";
import { columnsOf, paint, type Style } from "./display.ts";
import { wrap } from "./wrap.ts";

/** A cell: its text, and how it looks. */
export type Cell = string | { text: string; style: Style };

interface Painted {
  text: string;
  style?: Style;
}

const GAP = 2;
/** A last column in fewer columns than these is hard to read. */
const LEAST_COLUMNS = 24;

/** Prints a table on standard output: columns under their titles, each as wide as needed. */
export async function printTable(titles: string[], rows: Cell[][]): Promise<void> {
  await printPainted(renderTable(titles, rows));
}

/** Prints names and texts on standard output, one below the other. A name is empty if the text belongs to the one before. */
export async function printPairs(pairs: [name: string, text: Cell][]): Promise<void> {
  await printPainted(renderPairs(pairs, columnsOf(Deno.stdout)).join("\n"));
}

async function printPainted(text: string): Promise<void> {
  await print(new TextEncoder().encode(`${text}\n`)); // what is in the cells was made printable
}

/** The table's lines, painted as for standard output. */
export function renderTable(titles: string[], rows: Cell[][], columns = columnsOf(Deno.stdout)): string {
  const body = rows.map((row) => row.map(cell));
  const all = [titles.map((text): Painted => ({ text, style: "bold" })), ...body];
  const widths = titles.map((_, column) => Math.max(...all.map((row) => row[column].text.length)));
  const last = titles.length - 1;
  const indent = widths.slice(0, last).reduce((sum, width) => sum + width + GAP, 0);
  const room = columns - indent;
  const longestWord = Math.max(...all.flatMap((row) => row[last].text.split(" ").map(({ length }) => length)));
  if (room < widths[last] && room < Math.max(LEAST_COLUMNS, longestWord)) {
    return body.flatMap((row, at) => [
      ...at > 0 ? [""] : [],
      ...renderPairs(row.map(({ text, style }, column) => [titles[column], style ? { text, style } : text]), columns),
    ]).join("\n");
  }
  return all.flatMap((row) => {
    const lines = wrap(row[last].text, room).split("\n").map((text) => show({ ...row[last], text }));
    const before = row.slice(0, last).map((each, column) => show(each) + pad(each.text, widths[column] + GAP)).join("");
    return lines.map((line, at) => ((at === 0 ? before : " ".repeat(indent)) + line).trimEnd());
  }).join("\n");
}

/** The lines of names and texts. */
export function renderPairs(pairs: [name: string, text: Cell][], columns: number): string[] {
  const width = Math.max(...pairs.map(([name]) => name.length)) + GAP;
  return pairs.flatMap(([name, value]) => {
    const { text, style } = cell(value);
    const lines = wrap(text, columns - width).split("\n").map((line) => show({ text: line, style }));
    const begin = show({ text: name, style: "bold" }) + pad(name, width);
    return lines.map((line, at) => ((at === 0 ? begin : " ".repeat(width)) + line).trimEnd());
  });
}

function cell(value: Cell): Painted {
  return typeof value === "string" ? { text: printable(value) } : { ...value, text: printable(value.text) };
}

function show({ text, style }: Painted): string {
  return paint(text, style, Deno.stdout);
}

function pad(text: string, width: number): string {
  return " ".repeat(Math.max(0, width - text.length));
}

/** How long ago a time was, ISO 8601. */
export function age(time: string | undefined): string {
  return formatSpan((Date.now() - Date.parse(time ?? "")) / 1000);
}
