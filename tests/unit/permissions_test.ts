import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path/from-file-url";
import { permissionRows } from "../../dev/permissions_table.ts";
import { isAtLeast, programFlags } from "../../lib/cli/permissions/program.ts";

const page = await Deno.readTextFile(fromFileUrl(new URL("../../docs/security.md", import.meta.url)));

Deno.test("permissions: the documentation has the current table", () => {
  const lines = page.split("\n").filter((line) => line.startsWith("| `"));
  const shown = lines.map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()));
  assertEquals(shown, permissionRows());
});

Deno.test("permissions: the documentation has the program's flags", () => {
  const [, command] = page.match(/^deno run ((?:.*\\\n)*.*)hotboot\.js/m)!;
  const flags = command.replaceAll(/[\\"]/g, "").split(/\s+/).filter((word) => word.startsWith("--"));
  assertEquals(flags.sort(), programFlags().sort());
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
