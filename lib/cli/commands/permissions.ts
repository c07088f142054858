import { didYouMean } from "../../base/closest.ts";
import { print, printJson } from "../ui/console.ts";
import { printPairs } from "../ui/table.ts";
import { type Command, UsageError } from "./command.ts";

/** The user's words for the kinds of grants. */
const TITLES = {
  read: "reads",
  write: "reads and writes",
  net: "connects to",
  run: "runs",
  env: "variables",
  sys: "asks the system for",
};

export const command: Command = {
  operands: "[COMMAND]",
  trust: "looks",
  completes: "commands",
  about:
    "Show what each command, or COMMAND, may access here: files, hosts, sockets, programs and variables. It can access\n" +
    "nothing else. Paths from the command line appear as in the command's help, such as IMAGE or FILE.",
  examples: [
    "hotboot permissions start",
    "hotboot permissions snapshot export --json",
  ],
  flags: [],
  async run(context) {
    const { args } = context;
    const { grantsOf } = await import("../permissions/grants.ts");
    const { emulatorOf } = await import("./context.ts");
    const wanted = args.operands.join(" ");
    const all = await context.allCommands();
    const commands = all.filter(({ name, command: { hidden } }) =>
      !wanted && !hidden || name === wanted || name.startsWith(`${wanted} `)
    );
    if (commands.length === 0) {
      const guess = didYouMean(wanted, all.map(({ name }) => name));
      throw new UsageError(`there is no command '${wanted}'${guess}: see 'hotboot --help'`);
    }
    const emulator = await emulatorOf(context);
    const shown = await Promise.all(commands.map(async ({ name, command }) => {
      const situation = {
        ...(!command.standalone && { emulator }),
        named: (word: string) => [word],
        switches: new Set<string>(),
      };
      return [name, await grantsOf(name, situation)] as const;
    }));
    if (args.switches.has("json")) return await printJson(Object.fromEntries(shown));
    for (const [name, grants] of shown) {
      await print(name);
      const kinds = (Object.keys(TITLES) as (keyof typeof TITLES)[]).filter((kind) => grants[kind].length > 0);
      const pairs = kinds.flatMap((kind) =>
        grants[kind].map((each, at): [string, string] => [at === 0 ? `  ${TITLES[kind]}` : "", each])
      );
      if (pairs.length > 0) await printPairs(pairs);
    }
  },
};
