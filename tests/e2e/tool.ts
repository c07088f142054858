/** The system's tools. */

import { assertEquals } from "@std/assert";

/** Runs a system tool that must succeed. Returns what it prints. */
export async function tool(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  assertEquals(code, 0, `${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout).trim();
}
