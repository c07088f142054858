/** The command line's manners: examples that can be typed, guesses, and texts that fit into the terminal. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { closest, didYouMean } from "../../lib/base/closest.ts";
import { HotbootError } from "../../lib/base/error.ts";
import { findId } from "../../lib/emulator/snapshots.ts";
import { assignments } from "../../lib/base/shell.ts";
import { readArguments, UsageError } from "../../lib/cli/commands/command.ts";
import { allCommands, findCommand, GROUPS, VERBS } from "../../lib/cli/commands/verbs.ts";
import { displayOf, useDisplay } from "../../lib/cli/ui/display.ts";
import { ProgressLine } from "../../lib/cli/ui/progress.ts";
import { renderPairs, renderTable } from "../../lib/cli/ui/table.ts";
import { wrap, wrapPairs } from "../../lib/cli/ui/wrap.ts";
import { ROOT } from "../../dev/deno.ts";
import { withDirectory } from "./temporary.ts";

/** The calls of hotboot in a line, by a shell that runs it: nothing else in it is run. */
async function callsIn(line: string, cwd: string): Promise<string[][]> {
  const script = `
    hotboot() { local IFS=$'\\x1f'; printf '%s\\n' "$*" >>calls; } # in one piece: a pipe has two at once
    ssh() { shift; "$@"; }
    curl() { :; }
    : >calls; mkdir -p "$HOME/.config/fish/completions"
    eval "$1"`;
  const { code, stderr } = await new Deno.Command("bash", {
    args: ["-euc", script, "bash", line],
    cwd,
    env: { HOME: cwd, HOTBOOT_URL_BACKEND: "" },
    stdin: "null",
  }).output();
  assertEquals([code, new TextDecoder().decode(stderr)], [0, ""], line);
  const text = await Deno.readTextFile(`${cwd}/calls`);
  return text.split("\n").slice(0, -1).map((call) => call.split("\x1f"));
}

Deno.test("manners: each command has examples, which call that command with arguments that it takes", async () => {
  await withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/dump.sql`, "");
    for (const { name, command } of await allCommands()) {
      assert(command.examples.length > 0, name);
      for (const example of command.examples) {
        const called: string[] = [];
        for (const [verb, second, ...rest] of await callsIn(example, directory)) {
          const isGroup = !("run" in (await VERBS[verb].load()).command);
          const [full, args] = isGroup
            ? [`${verb} ${second}`, rest]
            : [verb, second === undefined ? [] : [second, ...rest]];
          readArguments(full, await findCommand(full), args);
          called.push(full);
        }
        assert(called.includes(name), `${name}: ${example} calls ${called}`);
      }
    }
  });
});

Deno.test("manners: each verb is in a group of the help, and in a table of the documentation", async () => {
  const pages = ["README.md", ...Array.from(Deno.readDirSync(`${ROOT}docs`), ({ name }) => `docs/${name}`)]
    .filter((path) => path.endsWith(".md") && !path.endsWith("/json.md"));
  const texts = await Promise.all(pages.map((path) => Deno.readTextFile(ROOT + path)));
  for (const [name, { group, summary }] of Object.entries(VERBS)) {
    assert(Object.hasOwn(GROUPS, group), name);
    assert(texts.some((text) => text.includes(`\n| \`${name}\``)), `no page lists ${name}`);
    assert(wrapPairs([[name, summary]], 100)[0].split("\n").length === 1, `${name}: its summary is too long`);
  }
});

Deno.test("manners: a mistyped word gets the closest known one, or none", () => {
  const verbs = Object.keys(VERBS);
  const meant: Record<string, string | undefined> = {
    strat: "start",
    stats: "status",
    snaphsot: "snapshot",
    exce: "exec",
    cred: "credentials",
    lst: "list",
    begin: undefined,
    x: undefined,
    "": undefined,
  };
  assertEquals(Object.fromEntries(Object.keys(meant).map((word) => [word, closest(word, verbs)])), meant);
  assertEquals([didYouMean("strat", verbs), didYouMean("begin", verbs)], [" (did you mean 'start'?)", ""]);
});

Deno.test("manners: a wrong command line names what was meant", async () => {
  const start = await findCommand("start");
  const wrong: [args: string[], why: string][] = [
    [["--profle", "demo"], "start has no option --profle (did you mean '--profile'?): see 'hotboot start --help'"],
    [["--color", "alwys"], "--color takes auto, always or never, not 'alwys' (did you mean 'always'?)"],
  ];
  for (const [args, why] of wrong) assertThrows(() => readArguments("start", start, args), UsageError, why);
  const unknown = await findCommand("snapshot lst").catch((error) => error.message);
  assertEquals(unknown, "there is no command 'snapshot lst' (did you mean 'ls'?): see 'hotboot snapshot --help'");
});

Deno.test("manners: a mistyped checkpoint or snapshot gets a suggestion", () => {
  const find = (text: string) => () => findId(["20260101T000000Z-aaaa"], text, "demo", ["before-migration"]);
  assertThrows(
    find("befor-migration"),
    HotbootError,
    "no snapshot 'befor-migration' (did you mean 'before-migration'?):",
  );
  assertThrows(find("20260101T000000Z-aaba"), HotbootError, "(did you mean '20260101T000000Z-aaaa'?):");
  assertThrows(find("other"), HotbootError, "no snapshot 'other': 'hotboot snapshot ls' lists them");
});

Deno.test("manners: texts are wrapped at words, and a longer word stays whole", () => {
  assertEquals(
    wrap("one two\nthree http://127.0.0.1:26800 four", 12, "  "),
    "one two\n  three\n  http://127.0.0.1:26800\n  four",
  );
  assertEquals(wrapPairs([["a", "one two"], ["long", "three"]], 80), ["  a     one two", "  long  three"]);
  assertEquals(wrapPairs([["a", "one two three four"]], 16), ["  a\n      one two\n      three four"]);
});

/** A table with a long last column. */
const TITLES = ["instance", "state", "services"];
const ROWS = [["demo", "running", "backend http://127.0.0.1:26801, dashboard http://127.0.0.1:26800"], [
  "other",
  "stopped",
  "-",
]];

Deno.test("manners: a table that is too wide wraps its last column, or becomes paragraphs", () => {
  useDisplay({ color: "never" });
  const widest = (text: string) => Math.max(...text.split("\n").map(({ length }) => length));
  const whole = renderTable(TITLES, ROWS, Infinity);
  assertEquals(whole.split("\n").length, 3);
  const wrapped = renderTable(TITLES, ROWS, 60);
  assertEquals(
    wrapped,
    [
      "instance  state    services",
      "demo      running  backend http://127.0.0.1:26801, dashboard",
      "                   http://127.0.0.1:26800",
      "other     stopped  -",
    ].join("\n"),
  );
  const narrow = renderTable(TITLES, ROWS, 40);
  assertEquals(
    narrow,
    [
      "instance  demo",
      "state     running",
      "services  backend",
      "          http://127.0.0.1:26801,",
      "          dashboard",
      "          http://127.0.0.1:26800",
      "",
      "instance  other",
      "state     stopped",
      "services  -",
    ].join("\n"),
  );
  assert(widest(wrapped) <= 60 && widest(narrow) <= 40);
});

Deno.test("manners: colours are only what hotboot adds, and take no room", () => {
  useDisplay({ color: "always" });
  try {
    const cell = { text: "\x1b[31mrunning\x07", style: "green" as const };
    assertEquals(renderPairs([["state", cell], ["", "\x1b]0;title\x07x"]], 80), [
      "\x1b[1mstate\x1b[0m  \x1b[32mrunning\x1b[0m",
      "       ]0;titlex",
    ]);
    assertEquals(
      renderTable(["a", "b"], [[cell, "x"]], 80).split("\n")[1],
      "\x1b[32mrunning\x1b[0m  x",
    );
  } finally {
    useDisplay({ color: "never" });
  }
});

Deno.test("manners: the option comes before NO_COLOR, and that before the variables that ask for colours", () => {
  const names = ["NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "TERM", "COLUMNS"];
  const before = names.map((name) => [name, Deno.env.get(name)] as const);
  const display = (env: Record<string, string>, option?: string) => {
    for (const name of names) Deno.env.delete(name);
    for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
    return displayOf(option);
  };
  try {
    assertEquals(display({}), { color: "auto" });
    assertEquals(display({ NO_COLOR: "1", FORCE_COLOR: "1" }), { color: "never" });
    assertEquals(display({ NO_COLOR: "1" }, "always"), { color: "always" });
    assertEquals(display({ NO_COLOR: "", CLICOLOR_FORCE: "1", TERM: "dumb" }), { color: "always" });
    assertEquals(display({ FORCE_COLOR: "0", TERM: "dumb" }), { color: "never" });
    assertEquals(display({ COLUMNS: "40" }, "never"), { color: "never", columns: 40 });
    for (const COLUMNS of ["", "0", "-1", "wide", "1.5"]) assertEquals(display({ COLUMNS }), { color: "auto" });
  } finally {
    for (const [name, value] of before) value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
  }
});

Deno.test("manners: a terminal shows how long other work takes, and nothing of that stays", async () => {
  let written = "";
  const line = new ProgressLine(true, (text) => written += text, () => 30);
  line.work("waiting for what takes very long", performance.now() - 61_000);
  while (written === "") await new Promise((resolve) => setTimeout(resolve, 50));
  line.rest();
  assertEquals(written, "\rhotboot: waiting for what tak\x1b[K\r\x1b[K");
  written = "";
  const plain = new ProgressLine(false, (text) => written += text);
  plain.work("waiting");
  plain.rest();
  assertEquals(written, "");
});

Deno.test("manners: variables are quoted for a shell", async () => {
  const values = { PLAIN: "http://127.0.0.1:1/a?b", STATE: "shut down", HOSTILE: `$(touch x)'";\n~`, HOME_LIKE: "~/x" };
  const { stdout } = await new Deno.Command("bash", {
    args: ["-c", `eval "$1"; printf '%s\\0' "$PLAIN" "$STATE" "$HOSTILE" "$HOME_LIKE"`, "bash", assignments(values)],
  }).output();
  assertEquals(new TextDecoder().decode(stdout).split("\0").slice(0, -1), Object.values(values));
});
