/** Output that nobody can take, or that nobody wants any more, and what a terminal gets. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { shellCommand } from "../../lib/base/shell.ts";
import { HOTBOOT, hotboot } from "./program.ts";

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

/** What a terminal of 40 columns gets from hotboot commands. */
async function onTerminal(env: Record<string, string>, ...commands: string[][]): Promise<string> {
  const lines = commands.map((args) => `${shellCommand([...HOTBOOT, ...args])} 2>&1`);
  const { stdout } = await new Deno.Command("script", {
    args: ["--quiet", "--command", ["stty cols 40", ...lines].join("; "), "/dev/null"],
    env: { TERM: "xterm", NO_COLOR: "", COLUMNS: "", SHELL: "/bin/sh", ...env },
  }).output();
  return new TextDecoder().decode(stdout).replaceAll("\r\n", "\n");
}

Deno.test("output: help and tables fit into a narrow terminal", async () => {
  const home = await Deno.makeTempDir({ prefix: "hotboot-narrow-" });
  try {
    await Deno.mkdir(`${home}/instances/a-rather-long-name`, { recursive: true });
    const named = ["--home", home, "--profile", "demo"];
    const screen = await onTerminal({}, ["--help"], ["start", "--help"], ["snapshot"], ["list", "--quiet", ...named]);
    // deno-lint-ignore no-control-regex -- colours take no room
    const lines = screen.replaceAll(/\x1b\[\d+m/g, "").split("\n");
    assertEquals(lines.filter((line) => line.length > 40 && !line.startsWith("  hotboot ")), []); // examples are for copying
    assertMatch(lines.join("\n"), /\ninstance +a-rather-long-name\nprofile +-\nstate +stopped\n/);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("output: a terminal gets colours, a pipe none, and the user can say otherwise", async () => {
  const help = ["status", "--help"];
  assertMatch(
    await onTerminal({}, help, ["strat"]),
    // deno-lint-ignore no-control-regex -- colours
    /\x1b\[1mOptions\x1b\[0m\n[^]*\x1b\[31mhotboot:\x1b\[0m there is no/,
  );
  for (const [env, args] of [[{ NO_COLOR: "1" }, []], [{}, ["--color", "never"]], [{ TERM: "dumb" }, []]] as const) {
    assert(!(await onTerminal(env, [...help, ...args])).includes("\x1b["), JSON.stringify([env, args]));
  }
  const piped = async (env: Record<string, string>, ...args: string[]) =>
    (await hotboot([...help, ...args], { env: { NO_COLOR: "", ...env } })).stdout.includes("\x1b[");
  assertEquals([await piped({}), await piped({ FORCE_COLOR: "1" }), await piped({}, "--color=always")], [
    false,
    true,
    true,
  ]);
});

Deno.test("output: a mistyped instance or profile gets a suggestion", async () => {
  const home = await Deno.makeTempDir({ prefix: "hotboot-typo-" });
  try {
    await Deno.mkdir(`${home}/instances/second`, { recursive: true });
    const on = (...args: string[]) => hotboot([...args, "--home", home, "--profile", "demo"]);
    const meant = /there is no instance 'secnod' \(did you mean 'second'\?\)\n$/;
    for (const verb of ["status", "credentials", "logs"]) {
      const { code, stderr } = await on(verb, "--instance", "secnod");
      assertEquals(code, 1);
      assertMatch(stderr, meant, verb);
    }
    const fine = await on("status", "--instance", "second");
    assertEquals([fine.code, fine.stderr], [1, ""]);
    const profile = await hotboot(["status", "--profile", "dmo"]);
    assertMatch(profile.stderr, /^hotboot: no profile 'dmo' \(did you mean 'demo'\?\): use demo, stack/);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
