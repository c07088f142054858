import { print, printJson } from "../ui/console.ts";
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
  about:
    "Show what each command, or COMMAND, may access here: files, hosts, sockets, programs and variables. It can access\n" +
    "nothing else. Paths from the command line appear as in the command's help, such as IMAGE or FILE.",
  flags: [],
  async run(context) {
    const { args } = context;
    const { grantsOf } = await import("../permissions/grants.ts");
    const { emulatorOf } = await import("./context.ts");
    const wanted = args.operands.join(" ");
    const commands = (await context.allCommands()).filter(({ name }) =>
      !wanted || name === wanted || name.startsWith(`${wanted} `)
    );
    if (commands.length === 0) throw new UsageError(`there is no command '${wanted}': see 'hotboot --help'`);
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
      for (const kind of kinds) await print(`  ${TITLES[kind].padEnd(20)}${grants[kind].join("\n".padEnd(23))}`);
    }
  },
};
