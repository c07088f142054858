/**
 * Writes the table of permissions in docs/security.md, from the one in the source:
 *
 *     deno run -A dev/permissions_table.ts
 */

import { type Row, TABLE } from "../lib/cli/permissions/table.ts";
import { ROOT } from "./deno.ts";

const TITLES = ["command", "reads", "reads and writes", "connects to", "runs", "variables"];

/** The table's rows, as lists of cells. */
export function permissionRows(): string[][] {
  return Object.entries(TABLE).flatMap(([name, { more = {}, ...row }]) => [
    cells(`\`${name}\``, row),
    ...Object.entries(more).map(([condition, addition]) => cells(`\`${name}\` ${condition}: also`, addition)),
  ]);
}

function cells(name: string, row: Row): string[] {
  const { read = [], write = [], replace = [], net = [], run = [], env = [] } = row;
  const lists = [read, [...write, ...replace], net, run, env.map((variable) => `\`${variable}\``)];
  return [name, ...lists.map((list) => list.join(", "))];
}

if (import.meta.main) {
  const path = `${ROOT}docs/security.md`;
  const lines = (await Deno.readTextFile(path)).split("\n");
  const from = lines.findIndex((line) => /^\| command +\| reads +\|/.test(line));
  const count = lines.slice(from).findIndex((line) => !line.startsWith("|"));
  const table = [TITLES, TITLES.map(() => "-"), ...permissionRows()].map((row) => `| ${row.join(" | ")} |`);
  lines.splice(from, count, ...table);
  await Deno.writeTextFile(path, lines.join("\n"));
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "-q", path] }).spawn().status;
}
