import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path/from-file-url";
import { isAtLeast, outerFlags } from "../../lib/permissions/outer.ts";
import { type Row, TABLE } from "../../lib/permissions/table.ts";

/** A row as README has it. */
function cells(name: string, row: Row): string {
  const { read = [], write = [], replace = [], net = [], run = [], env = [] } = row;
  const lists = [read, [...write, ...replace], net, run, env.map((variable) => `\`${variable}\``)];
  return [name, ...lists.map((list) => list.join(", "))].join(" | ");
}

Deno.test("permissions: README has the table as it is", async () => {
  const rows = Object.entries(TABLE).flatMap(([name, { more = {}, ...row }]) => [
    cells(`\`${name}\``, row),
    ...Object.entries(more).map(([condition, addition]) => cells(`\`${name}\` ${condition}: also`, addition)),
  ]);
  const readme = await Deno.readTextFile(fromFileUrl(new URL("../../README.md", import.meta.url)));
  const lines = readme.split("\n").filter((line) => line.startsWith("| `"));
  const shown = lines.map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()).join(" | "));
  assertEquals(rows.filter((row) => !shown.includes(row)), []);
});

Deno.test("permissions: README has the flags of the outer ring", async () => {
  const readme = await Deno.readTextFile(fromFileUrl(new URL("../../README.md", import.meta.url)));
  const command = readme.replaceAll(/ \\\n\s*/g, " ");
  assertEquals(outerFlags().filter((flag) => !command.includes(flag)), []);
});

Deno.test("permissions: versions are compared as numbers", () => {
  assertEquals(["2.8.9", "2.9.0", "2.10.1", "3.0.0", "1.46.0"].map((version) => isAtLeast(version, 2, 9)), [
    false,
    true,
    true,
    true,
    false,
  ]);
});
