/** Every command in the documentation is one that the program takes; CI's examples are valid. What can run here is run by tests/e2e/docs_test.ts. */

import { assert, assertEquals } from "@std/assert";
import { parse } from "@std/yaml/parse";
import config from "../../deno.json" with { type: "json" };
import { ROOT } from "../../dev/deno.ts";
import { readArguments } from "../../lib/cli/commands/command.ts";
import { findCommand, loadVerb, VERBS } from "../../lib/cli/commands/verbs.ts";
import { type Block, blocksOf, commandsIn, inlineCommandsOf, pages } from "../docs.ts";

/** The kinds of blocks, and for each whether it has commands. */
const LANGUAGES: Record<string, boolean> = {
  "sh": true,
  "console": true,
  "yaml": true,
  "js ignore": false,
  "json": false,
  "jsonc": false,
  "text": false,
  "toml": false,
  "ts": false,
};

/** All blocks of all pages. */
async function allBlocks(): Promise<Block[]> {
  return (await Promise.all((await pages()).map(blocksOf))).flat();
}

/** The scripts in a block. In YAML they are the texts below `run` and `script`. */
function scriptsIn({ language, text }: Block): string[] {
  if (language === "console") {
    return [text.split("\n").flatMap((line) => line.match(/^\$ (.*)$/)?.[1] ?? []).join("\n")];
  }
  return language === "yaml" ? scriptsOf(parse(text)) : [text];
}

function scriptsOf(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    if (!["run", "script", "before_script"].includes(key)) return scriptsOf(inner);
    return [inner].flat().map(String);
  });
}

/** The version of Deno that the tests' workflow uses. */
async function denoOfWorkflow(): Promise<string> {
  return (await Deno.readTextFile(`${ROOT}.github/workflows/test.yml`)).match(/npx -y deno@(\S+)/)![1];
}

/** Reads a command as the program does. @throws {Error} if it is none. */
async function readCommand(words: string[]): Promise<void> {
  const first = words.findIndex((word) => !/^(?:\w+=.*|sudo|if|then|else|while|do|!|exec)$/.test(word));
  const [program, ...args] = first < 0 ? [] : words.slice(first);
  if (program === "hotboot") return await readHotboot(args);
  if (program === "npx" && args[1]?.startsWith("deno@")) {
    assertEquals(args.slice(0, 2), ["-y", `deno@${await denoOfWorkflow()}`]);
    return await readDeno(args.slice(2));
  }
  if (program === "deno") await readDeno(args);
}

async function readDeno([subcommand, ...args]: string[]): Promise<void> {
  if (subcommand === "task") {
    const [name, ...rest] = args;
    assert(Object.hasOwn(config.tasks, name), `there is no task ${name}`);
    if (name === "hotboot") await readHotboot(rest);
  } else if (subcommand === "add") {
    assertEquals(args, [`jsr:${config.name}`]);
  } else if (subcommand === "run") {
    const program = args.findIndex((arg) => arg.endsWith("/hotboot.js"));
    if (program >= 0) await readHotboot(args.slice(program + 1));
    else assert(await Deno.stat(ROOT + args.find((arg) => !arg.startsWith("-"))));
  } else assert(["doc", "test"].includes(subcommand), `deno ${subcommand}`);
}

async function readHotboot([verb, ...rest]: string[]): Promise<void> {
  if (["--version", "--help"].includes(verb)) return assertEquals(rest, []);
  if (["COMMAND", "…"].includes(verb)) return; // any
  const loaded = await loadVerb(verb);
  const name = "run" in loaded ? verb : `${verb} ${rest[0]}`;
  readArguments(name, await findCommand(name), "run" in loaded ? rest : rest.slice(1));
}

Deno.test("docs: each block is of a known kind, and a mark for one that is only parsed stands before a script", async () => {
  for (const { page, line, language, onlyParsed } of await allBlocks()) {
    assert(Object.hasOwn(LANGUAGES, language), `${page}:${line}: ${language}`);
    assert(onlyParsed === undefined || language === "sh", `${page}:${line}`);
  }
  for (const page of await pages()) {
    const marks = (await Deno.readTextFile(ROOT + page)).match(/^<!-- only parsed/gm)?.length ?? 0;
    assertEquals((await blocksOf(page)).filter(({ onlyParsed }) => onlyParsed).length, marks, page);
  }
});

Deno.test("docs: the page of commands has a row for each, and for no other", async () => {
  const page = await Deno.readTextFile(`${ROOT}docs/commands.md`);
  const rows = Array.from(page.matchAll(/^\| `([\w-]+)` +\|/gm), ([, verb]) => verb);
  assertEquals(rows.toSorted(), Object.keys(VERBS).sort());
});

Deno.test("docs: the program takes each command", async () => {
  const wrong: string[] = [];
  let count = 0;
  const read = async (where: string, words: string[]) => {
    count++;
    await readCommand(words).catch((error) => wrong.push(`${where}: ${words.join(" ")}: ${error.message}`));
  };
  for (const block of (await allBlocks()).filter(({ language }) => LANGUAGES[language])) {
    for (const words of scriptsIn(block).flatMap(commandsIn)) await read(`${block.page}:${block.line}`, words);
  }
  for (const page of await pages()) {
    for (const words of await inlineCommandsOf(page)) await read(page, words);
  }
  assertEquals(wrong, []);
  assert(count > 100, `there are only ${count} commands`);
});

Deno.test("docs: a command that the program does not take is found, however it is written", async () => {
  const taken = ["hotboot start --cold # why", "FOO=1; hotboot exec -- psql --version", "hotboot iso ls 'a b'"];
  const refused = [
    "X=1 hotboot strat",
    "if ! hotboot status --jso; then",
    "hotboot start --clod",
    "a | hotboot stop \\\n  --shutdwon",
    "deno task hotbot",
  ];
  const fails = (script: string) => Promise.all(commandsIn(script).map(readCommand)).then(() => false, () => true);
  assertEquals(await Promise.all(taken.map(fails)), taken.map(() => false));
  assertEquals(await Promise.all(refused.map(fails)), refused.map(() => true));
  assertEquals(commandsIn("A=1 x -e 'it''s' \"a;b\" >out 2>&1 | y \\\n z; # w\nv"), [
    ["A=1", "x", "-e", "its", "a;b"],
    ["y", "z"],
    ["v"],
  ]);
});

Deno.test("docs: Bash accepts each script", async () => {
  const blocks = (await allBlocks()).filter(({ language }) => language === "sh" || language === "yaml");
  for (const block of blocks) {
    for (const script of scriptsIn(block)) {
      const { code, stderr } = await new Deno.Command("bash", { args: ["-nc", script] }).output();
      assertEquals(code, 0, `${block.page}:${block.line}: ${new TextDecoder().decode(stderr)}`);
    }
  }
});

interface Step {
  uses?: string;
  run?: string;
}

Deno.test("docs: the example for GitHub is a workflow, with the actions of this repository's own, and this version", async () => {
  const own = await Deno.readTextFile(`${ROOT}.github/workflows/test.yml`);
  const checkout = `actions/checkout@${own.match(/actions\/checkout@\w+ # (v\d+)/)![1]}`;
  const [workflow] = await yamlOf("docs/ci.md");
  const { jobs, ...rest } = workflow as { jobs: Record<string, { steps: Step[] }> };
  assertEquals(Object.keys(rest), ["name", "on", "permissions"]);
  for (const job of Object.values(jobs)) {
    assertEquals(Object.keys(job), ["runs-on", "timeout-minutes", "steps"]);
    for (const step of job.steps) assertEquals([step.uses, step.run].filter(Boolean).length, 1, JSON.stringify(step));
    assertEquals(job.steps.slice(0, 2).map(({ uses }) => uses), [checkout, `hotboot/hotboot@v${config.version}`]);
  }
});

Deno.test("docs: the action has the inputs and outputs that the page says", async () => {
  const page = await Deno.readTextFile(`${ROOT}docs/ci.md`);
  const { inputs, outputs } = parse(await Deno.readTextFile(`${ROOT}action.yml`)) as Record<string, object>;
  const rows = Array.from(page.matchAll(/^\| `([\w-]+)` +\|/gm), ([, name]) => name);
  assertEquals(rows, [...Object.keys(inputs), ...Object.keys(outputs)]);
});

Deno.test("docs: the examples for GitLab include the file of this version, with inputs that it has", async () => {
  const [header, job] = (await Deno.readTextFile(`${ROOT}ci/gitlab.yml`)).split("\n---\n").map((text) => parse(text));
  const { spec: { inputs } } = header as { spec: { inputs: Record<string, { default: unknown }> } };
  assertEquals(inputs.version.default, config.version);
  const [, example, further] = (await yamlOf("docs/ci.md")) as {
    include: { remote: string; inputs?: object }[];
    test: { extends: string; script: string[] };
  }[];
  const remote = `https://github.com/hotboot/hotboot/raw/v${config.version}/ci/gitlab.yml`;
  assertEquals(example.include, [{ remote }]);
  assert(Object.hasOwn(job as object, example.test.extends));
  for (const line of example.test.script) assertEquals(typeof line, "string"); // and no mapping
  assertEquals(further.include[0].remote, remote);
  for (const name of Object.keys(further.include[0].inputs!)) assert(Object.hasOwn(inputs, name), name);
});

/** What a page's YAML says. */
async function yamlOf(page: string): Promise<unknown[]> {
  return (await blocksOf(page)).filter(({ language }) => language === "yaml").map(({ text }) => parse(text));
}
