/** The documentation agrees with the sources on files, states and variables, and its links lead somewhere. */

import { assert, assertEquals } from "@std/assert";
import { exists } from "@std/fs/exists";
import { walk } from "@std/fs/walk";
import { ROOT } from "../../dev/deno.ts";
import { PROGRAM_PERMISSIONS } from "../../lib/cli/permissions/program.ts";
import { CA_VARIABLES, PROXY_VARIABLES } from "../../lib/release/network.ts";
import { type Row, TABLE } from "../../lib/cli/permissions/table.ts";
import type { StateName } from "../../lib/instance/state.ts";

/** The type makes sure that it is complete. */
const STATES: Record<StateName, true> = {
  "stopped": true,
  "starting": true,
  "running": true,
  "paused": true,
  "stopping": true,
  "suspended": true,
  "shut down": true,
  "crashed": true,
  "abandoned": true,
  "unresponsive": true,
  "damaged": true,
};
const REPOSITORY = "https://github.com/hotboot/hotboot/";

function read(path: string): Promise<string> {
  return Deno.readTextFile(ROOT + path);
}

/** The files below a directory, as paths in the checkout. */
async function filesBelow(directory: string): Promise<string[]> {
  const entries = await Array.fromAsync(walk(ROOT + directory, { includeDirs: false }));
  return entries.map(({ path }) => path.slice(ROOT.length)).sort();
}

/** The table rows whose first cell is code: that cell and the one beside it. */
function codeRows(page: string): [string, string][] {
  const rows = page.matchAll(/^\| (?:\[)?`([^`]+)`(?:\]\([^)]*\))? +\| (.*?) *\|/gm);
  return Array.from(rows, ([, name, text]) => [name, text]);
}

Deno.test("docs: the architecture page has a sentence for each file of lib/, and for no other", async () => {
  const [, files] = (await read("docs/architecture.md")).split("## Files");
  const rows = codeRows(files);
  assertEquals(rows.map(([name]) => `lib/${name}`).sort(), await filesBelow("lib"));
  assertEquals(rows.filter(([, text]) => !text.endsWith(".")), []);
});

Deno.test("docs: each function that the architecture page names is in the file it names", async () => {
  const page = await read("docs/architecture.md");
  const places = Array.from(page.matchAll(/((?:`\w+`(?: and )?)+) in \[[^\]]+\]\(\.\.\/([^)]+)\)/g));
  assert(places.length > 5, page);
  for (const [, names, path] of places) {
    const source = await read(path);
    for (const [, name] of names.matchAll(/`(\w+)`/g)) {
      assert(new RegExp(`(?:function|const) ${name}\\b`).test(source), `${path} has no ${name}`);
    }
  }
});

Deno.test("docs: each state of an instance is explained and drawn", async () => {
  const names = Object.keys(STATES);
  const [, table] = (await read("docs/instances.md")).split("## States");
  assertEquals(codeRows(table).map(([name]) => name), names);
  const [, drawing] = (await read("docs/architecture.md")).match(/## The states[^]*?```text\n([^]*?)```/)!;
  assertEquals(names.filter((name) => !drawing.includes(name)), []);
});

/** The sources that read a variable whose name is passed to them. */
const NAMED_ELSEWHERE = [
  "lib/cli/commands/command.ts", // the variable of an option
  "lib/cli/permissions/launcher.ts", // the one that network.ts lists for Deno's authorities
  "lib/profile/env.ts", // a variable that the library's caller names
  "lib/profile/variables.ts", // a variable that the profile names
  "lib/release/network.ts", // variables from its own lists
  "lib/release/token.ts", // variables from its own list
];

/** The variables that the sources and the built-in profiles read. */
async function variablesRead(): Promise<string[]> {
  const found = new Set<string>();
  const add = (text: string, pattern: RegExp) => {
    for (const [, name] of text.matchAll(pattern)) found.add(name);
  };
  const namedElsewhere: string[] = [];
  for (const path of ["cli.ts", "mod.ts", ...await filesBelow("lib")]) {
    const text = (await read(path)).replaceAll(/^ *\*.*$/gm, ""); // without the examples
    add(text, /Deno\.env\.\w+\("(\w+)"\)/g);
    add(text, /\bvariable: "(\w+)"/g);
    if (/Deno\.env\.(?!\w+\(")|\bprocess\.env\b/.test(text)) namedElsewhere.push(path);
    if (path === "lib/release/token.ts") add(text, /"(G\w+_TOKEN)"/g);
  }
  assertEquals(namedElsewhere, NAMED_ELSEWHERE);
  for (const name of [...PROXY_VARIABLES, ...CA_VARIABLES]) found.add(name);
  for (const { env = [] } of Object.values(TABLE)) env.forEach((name) => found.add(name));
  for (const name of ["demo", "stack"]) add(await read(`qemu/${name}/profile.json`), /\$\{env\.(\w+)/g);
  for (const path of (await filesBelow("qemu")).filter((path) => path.endsWith(".sh"))) {
    add(await read(path), /\$\{?(HOTBOOT_\w+)/g);
  }
  found.delete("HOTBOOT_ISOLATED"); // a recipe sets it for itself
  return [...found].sort();
}

Deno.test("docs: the listed variables are those that the sources and the built-in profiles read", async () => {
  const documented = codeRows(await read("docs/variables.md")).map(([name]) => name);
  assertEquals(documented.toSorted(), await variablesRead());
});

Deno.test("docs: the binary may read each variable, and the page lists the prefixes for a profile's variables", async () => {
  const { env } = PROGRAM_PERMISSIONS;
  const mayRead = (name: string) =>
    env.some((allowed) => allowed.endsWith("*") ? name.startsWith(allowed.slice(0, -1)) : name === allowed);
  assertEquals((await variablesRead()).filter((name) => !mayRead(name)), []);
  const page = await read("docs/variables.md");
  const refusal = await read("lib/profile/variables.ts");
  for (const beginning of env.filter((name) => name.endsWith("*")).map((name) => name.slice(0, -1))) {
    assert(page.includes(`\`${beginning}\``), beginning);
    assert(refusal.includes(beginning), beginning);
  }
});

Deno.test("docs: links lead to files and headings that exist", async () => {
  const pages = ["README.md", ...await filesBelow("docs")];
  const broken: string[] = [];
  for (const page of pages) {
    for (const [, target] of (await read(page)).matchAll(/\]\(([^)\s]+)\)/g)) {
      const inRepository = target.startsWith(REPOSITORY) ? target.match(/\/(?:blob|tree)\/main\/(.*)/)?.[1] : undefined;
      if (inRepository === undefined && /^https?:/.test(target)) continue;
      const { pathname, hash } = new URL(inRepository ?? target, `file:///${inRepository ? "" : page}`);
      const path = pathname.slice(1);
      const isThere = await exists(ROOT + path) && (hash === "" || anchorsOf(await read(path)).includes(hash.slice(1)));
      if (!isThere) broken.push(`${page}: ${target}`);
    }
  }
  assertEquals(broken, []);
});

Deno.test("docs: each line of the security page's table names tests that exist", async () => {
  const [, section] = (await read("docs/security.md")).split(/^## /m);
  const [, , ...rows] = section.matchAll(/^\|(.*)\|$/gm);
  assert(rows.length > 20, section);
  const untested: string[] = [];
  for (const [, row] of rows) {
    const [, , worst, , tests] = row.split(" | ").map((cell) => cell.trim());
    const named = tests.matchAll(/`(tests\/[^`]+)`: ((?:“[^”]+”(?:; )?)+)/g).toArray();
    if (named.length === 0) untested.push(worst);
    for (const [, path, titles] of named) {
      const patterns = titlesIn(await read(path));
      for (const [, title] of titles.matchAll(/“([^”]+)”/g)) {
        assert(patterns.some((pattern) => pattern.test(title)), `${path} has no test "${title}"`);
      }
    }
  }
  assertEquals(untested, []);
});

/** The titles of a file's tests and steps, as patterns: a title may be made of parts. */
function titlesIn(source: string): RegExp[] {
  const calls = source.matchAll(/\b(?:(?:test|step)\(|testUnless\(\s*.*,)\s*(["`])(.*)\1,/g);
  const parts = (title: string) => title.split(/\$\{[^}]*\}/).map((part) => RegExp.escape(part));
  return Array.from(calls, ([, , title]) => new RegExp(`^${parts(title).join(".+")}$`));
}

Deno.test("docs: the sandbox is a boundary for the commands that the security page lists, and for no others", async () => {
  const can = ({ run = [], net = [], more = {} }: Row): boolean =>
    run.length > 0 || net.includes("qemu") || Object.values(more).some(can);
  const [, list] = (await read("docs/security.md")).match(/The sandbox is a boundary [^:]*: ([^.]*)\./)!;
  const documented = Array.from(list.matchAll(/`([^`]+)`/g), ([, name]) => name);
  assertEquals(documented, Object.keys(TABLE).filter((name) => !can(TABLE[name])));
});

Deno.test("docs: the fixture for vitest is the one that is tested", async () => {
  const fixture = await read("tests/e2e/vitest/stack.js");
  assert((await read("docs/testing.md")).includes(`\`\`\`js ignore\n${fixture}\`\`\`\n`), "docs/testing.md differs");
});

/** The anchors that GitHub and JSR give to a page's headings. */
function anchorsOf(page: string): string[] {
  return Array.from(
    page.matchAll(/^#+ (.+)$/gm),
    ([, heading]) => heading.toLowerCase().replaceAll(/[^\w\- ]/g, "").replaceAll(" ", "-"),
  );
}
