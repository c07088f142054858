/** The texts of `--help`, for the terminal's width. */

import { columnsOf, paint } from "../ui/display.ts";
import { print, printError } from "../ui/console.ts";
import { wrap, wrapPairs } from "../ui/wrap.ts";
import { allFlags, type Command, type CommandGroup, firstSentence } from "./command.ts";
import { GROUPS, type Verb, VERBS } from "./verbs.ts";

/** Longer lines are hard to read. */
const LONGEST_LINE = 100;

/** Where it is printed: on standard output as a result, on standard error as an error. */
type Where = "result" | "error";

/** Prints `hotboot --help`. */
export async function printProgramHelp(where: Where): Promise<void> {
  await show(where, (title, columns) => {
    const verbs = Object.entries(VERBS);
    const groups = Object.entries(GROUPS).map(([group, heading]) => ({
      heading,
      rows: verbs.filter(([, verb]: [string, Verb]) => verb.group === group).map((
        [name, { summary }],
      ): [string, string] => [name, summary]),
    }));
    const all = wrapPairs(groups.flatMap(({ rows }) => rows), columns);
    return [
      wrap(
        "hotboot runs a service stack in one virtual machine. It boots the machine once, captures a snapshot, and resumes that.",
        columns,
      ),
      "",
      "Usage: hotboot COMMAND [OPTION…]",
      ...groups.filter(({ rows }) => rows.length > 0).flatMap(({ heading, rows }) => [
        "",
        title(heading),
        ...all.splice(0, rows.length),
      ]),
      "",
      wrap(
        "'hotboot COMMAND --help' shows a command's options, with examples; 'hotboot --version' the version.",
        columns,
      ),
    ];
  });
}

/** Prints `hotboot VERB --help` for a verb with subcommands. */
export async function printGroupHelp(verb: string, { about, commands }: CommandGroup, where: Where): Promise<void> {
  await show(where, (title, columns) => {
    const shown = Object.entries(commands).filter(([, { hidden }]) => !hidden);
    return [
      wrap(`Usage: hotboot ${verb} COMMAND [OPTION…]`, columns, "  "),
      "",
      paragraphs(about, columns),
      "",
      title("Commands"),
      ...wrapPairs(shown.map(([name, command]) => [name, firstSentence(command.about)]), columns),
      ...examples(shown.flatMap(([, command]) => command.examples.slice(0, 1)), title),
      "",
      wrap(`'hotboot ${verb} COMMAND --help' shows a command's options.`, columns),
    ];
  });
}

/** Prints `hotboot VERB --help`. */
export async function printCommandHelp(name: string, command: Command): Promise<void> {
  await show("result", (title, columns) => {
    const usage = ["Usage: hotboot", name, "[OPTION…]", command.operands].filter(Boolean).join(" ");
    const own = new Set(command.flags);
    const rows = (flags: typeof command.flags) =>
      wrapPairs(
        flags.map(({ name, short, value, variable, summary }) => [
          `${short ? `-${short}, ` : "    "}--${name}${value ? ` ${value}` : ""}`,
          summary + (variable && !value ? `; also ${variable}=1` : ""),
        ]),
        columns,
      );
    const all = allFlags(command);
    return [
      wrap(usage, columns, "  "),
      "",
      paragraphs(command.about, columns),
      ...command.flags.length > 0 ? ["", title("Options"), ...rows(all.filter((flag) => own.has(flag)))] : [],
      "",
      title("Common options"),
      ...rows(all.filter((flag) => !own.has(flag))),
      ...examples(command.examples, title),
    ];
  });
}

async function show(
  where: Where,
  lines: (title: (text: string) => string, columns: number) => string[],
): Promise<void> {
  const stream = where === "result" ? Deno.stdout : Deno.stderr;
  const columns = Math.min(columnsOf(stream), LONGEST_LINE);
  const text = lines((heading) => paint(heading, "bold", stream), columns).join("\n");
  await (where === "result" ? print : printError)(new TextEncoder().encode(`${text}\n`));
}

function examples(lines: string[], title: (text: string) => string): string[] {
  return lines.length > 0 ? ["", title("Examples"), ...lines.map((line) => `  ${line}`)] : [];
}

function paragraphs(text: string, columns: number): string {
  return text.split("\n\n").map((each) => wrap(each, columns)).join("\n\n");
}
