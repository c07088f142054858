import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path/from-file-url";
import { permissionRows } from "../../dev/permissions_table.ts";
import { isAtLeast, programFlags } from "../../lib/cli/permissions/program.ts";

Deno.test("permissions: README has the table as it is", async () => {
  const rows = permissionRows().map((cells) => cells.join(" | "));
  const readme = await Deno.readTextFile(fromFileUrl(new URL("../../README.md", import.meta.url)));
  const lines = readme.split("\n").filter((line) => line.startsWith("| `"));
  const shown = lines.map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()).join(" | "));
  assertEquals(rows.filter((row) => !shown.includes(row)), []);
});

Deno.test("permissions: README has the flags of the program", async () => {
  const readme = await Deno.readTextFile(fromFileUrl(new URL("../../README.md", import.meta.url)));
  const command = readme.replaceAll(/ \\\n\s*/g, " ");
  assertEquals(programFlags().filter((flag) => !command.includes(flag)), []);
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
