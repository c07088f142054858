/** Recipes that are scripts: their files are found, and they end with the command that runs them. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { exists } from "@std/fs/exists";
import { toFileUrl } from "@std/path/to-file-url";
import { recipePath } from "../../lib/image/recipe.ts";
import { runScript } from "../../lib/image/script.ts";
import type { Emulator } from "../../lib/instance/emulator.ts";
import { testEmulator } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

/** An emulator whose profile is at `path`. */
async function withProfileAt(path: string, directory: string, signal?: AbortSignal): Promise<Emulator> {
  return { ...await testEmulator(directory, { signal }), profileUrl: toFileUrl(path) };
}

Deno.test("recipe: its paths are file names with any characters, not URLs", () =>
  withDirectory(async (directory) => {
    const emulator = await withProfileAt(`${directory}/a b#c%20d/profile.json`, directory);
    for (const name of ["a:b", "a#b", "a%20b", "a?b", "file:x", "ä b", "./x"]) {
      assertEquals(recipePath(emulator, name), `${directory}/a b#c%20d/${name.replace("./", "")}`);
    }
    assertEquals(recipePath(emulator, "/abs#olute"), "/abs#olute");
  }));

Deno.test("recipe: an interrupt ends it, also if a program that it started holds its output open", () =>
  withDirectory(async (directory) => {
    const interrupt = new AbortController();
    const pidFile = `${directory}/pid`;
    const script = `${directory}/recipe.sh`;
    // setsid: takes it out of the group that ends with the script
    const program = `setsid sh -c 'echo $$ >"${pidFile}.new"; mv "${pidFile}.new" "${pidFile}"; exec sleep 60' &`;
    await Deno.writeTextFile(script, `${program}\nuntil [ -e "${pidFile}" ]; do sleep 0.01; done\n`);
    const emulator = await withProfileAt(`${directory}/profile.json`, directory, interrupt.signal);
    const running = runScript(emulator, { script: "recipe.sh", inputs: ["recipe.sh"] }, directory);
    running.catch(() => {});
    while (!await exists(pidFile)) await new Promise((resolve) => setTimeout(resolve, 5));
    const reason = new Error("Ctrl-C");
    interrupt.abort(reason);
    assertEquals(await assertRejects(() => running), reason);
    Deno.kill(Number(await Deno.readTextFile(pidFile)), "SIGKILL");
  }));

Deno.test("recipe: the programs that it starts end with it", () =>
  withDirectory(async (directory) => {
    const script = `${directory}/recipe.sh`;
    await Deno.writeTextFile(script, `sleep 60 & echo $! >"$1/pid"; echo step made\n`);
    const emulator = await withProfileAt(`${directory}/profile.json`, directory);
    await runScript(emulator, { script: "recipe.sh", inputs: ["recipe.sh"] }, directory);
    const pid = (await Deno.readTextFile(`${directory}/pid`)).trim();
    // It has got the signal, but may take a moment to end.
    while (await isRunning(pid)) await new Promise((resolve) => setTimeout(resolve, 5));
    assert((emulator as Awaited<ReturnType<typeof testEmulator>>).told.includes("made"));
  }));

Deno.test("recipe: a script gets no tokens", () =>
  withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/recipe.sh`, `env >"$1/env"\n`);
    const emulator = await withProfileAt(`${directory}/profile.json`, directory);
    const names = ["HOTBOOT_UNIT_TOKEN", "HOTBOOT_UNIT_OTHER"];
    try {
      for (const name of names) Deno.env.set(name, "a\nb");
      await runScript(emulator, { script: "recipe.sh", inputs: ["recipe.sh"] }, directory);
    } finally {
      for (const name of names) Deno.env.delete(name);
    }
    const got = await Deno.readTextFile(`${directory}/env`);
    assertEquals(names.map((name) => got.includes(name)), [false, true]);
  }));

/** Whether the process exists and is not a zombie (proc(5), stat). */
async function isRunning(pid: string): Promise<boolean> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
  return stat !== "" && !/\) Z /.test(stat);
}
