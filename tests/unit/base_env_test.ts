/**
 * Compares the development constants that the built-in profile `stack` gives its guest with those in a checkout of the
 * system that it runs: `STACK_AUTH=PATH deno task test --unit`.
 */

import { assertEquals } from "@std/assert";
import { dirname } from "@std/path/dirname";
import stack from "../../qemu/stack/profile.json" with { type: "json" };
import { withDirectory } from "./temporary.ts";

/** The program that makes the list there, and its inputs. */
const GENERATOR = "docker/local-emulator/generate-env-development.mjs";
const SOURCES = ["apps/backend/.env.development", "apps/dashboard/.env.development"];
/** Its output. */
const LIST = "docker/local-emulator/.env.development";

const checkout = Deno.env.get("STACK_AUTH") ?? "";

Deno.test({
  name: `base.env: 'stack' has the same list as ${checkout || "a checkout of stack-auth, which STACK_AUTH=PATH names"}`,
  ignore: checkout === "",
  fn: () =>
    withDirectory(async (directory) => {
      const theirs = constants((await generate(directory)).split("\n"));
      const ours = constants(stack.config.files["base.env"].lines);
      const names = [...ours.keys()];
      assertEquals(
        {
          missing: [...theirs.keys()].filter((name) => !ours.has(name)),
          "no longer there": names.filter((name) => !theirs.has(name)),
          "of another value": names.filter((name) => theirs.has(name) && theirs.get(name) !== ours.get(name)),
        },
        { missing: [], "no longer there": [], "of another value": [] },
      );
    }),
});

/** The list as the checkout's own program makes it, from copies, so that the checkout stays as it is. */
async function generate(directory: string): Promise<string> {
  for (const path of [GENERATOR, ...SOURCES]) {
    await Deno.mkdir(dirname(`${directory}/${path}`), { recursive: true });
    await Deno.copyFile(`${checkout}/${path}`, `${directory}/${path}`);
  }
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-config", `--allow-read=${directory}`, `--allow-write=${directory}`, GENERATOR],
    cwd: directory,
  }).output();
  if (!success) throw new Error(`${GENERATOR} failed: ${new TextDecoder().decode(stderr)}`);
  return await Deno.readTextFile(`${directory}/${LIST}`);
}

function constants(lines: string[]): Map<string, string> {
  const entries = lines.filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(entries.map((line) => {
    const end = line.indexOf("=");
    return [line.slice(0, end), line.slice(end + 1)];
  }));
}
