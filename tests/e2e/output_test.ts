/** Output that nobody can take, or that nobody wants any more. */

import { assertEquals } from "@std/assert";
import { shellCommand } from "../../lib/base/shell.ts";
import { HOTBOOT } from "./harness.ts";

async function shell(redirection: string): Promise<{ code: number; stderr: string }> {
  const line = `${shellCommand([...HOTBOOT, "permissions"])} ${redirection}; exit \${PIPESTATUS[0]}`;
  const { code, stderr } = await new Deno.Command("bash", { args: ["-c", line], stdout: "null" }).output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

Deno.test("output: a full disk is named, and the end of a reader is no error", async () => {
  assertEquals(await shell(">/dev/full"), {
    code: 1,
    stderr:
      "hotboot: standard output cannot be written (No space left on device (os error 28)): free some space, or send it elsewhere\n",
  });
  assertEquals(await shell("| head -c 1"), { code: 0, stderr: "" });
});
