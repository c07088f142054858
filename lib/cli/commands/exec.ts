import type { ExecOptions } from "../../guest/exec_options.ts";
import { print, printError, printJson } from "../ui/console.ts";
import { type Command, type CommandContext, type Flag, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";

const SEPARATOR = "\0";

/** How to run it, as in `docker exec`. */
export const RUN_FLAGS: Flag[] = [
  {
    name: "env",
    short: "e",
    value: "NAME=VALUE",
    repeats: true,
    separator: SEPARATOR,
    summary: "set a variable for it; can be repeated",
  },
  { name: "workdir", short: "w", value: "DIR", completes: [], summary: "the directory in the guest to run it in" },
  { name: "user", short: "u", value: "USER", summary: "the user in the guest to run it as (default: root)" },
];

export const command: Command = {
  operands: "-- CMD [ARG…]",
  stopsEarly: true,
  completes: [],
  about:
    "Run a program in the guest, as root. Its output appears as it is written, and hotboot exits with its exit code: 128 + n\n" +
    "if signal n ended it, 127 if there is no such program. It reads nothing unless -i is given: pipe into\n" +
    "'hotboot exec -i -- CMD', and type 'hotboot exec -it -- CMD' for a program that you talk to. The options are those of\n" +
    "docker exec. --json prints output and exit code at the end, as one object.",
  examples: [
    "hotboot exec -- psql --version",
    "hotboot exec -it -- bash",
    "hotboot exec -i -- psql < dump.sql",
    "hotboot exec -u postgres -w /tmp -e LANG=C -- psql -c 'select 1'",
  ],
  flags: [
    { name: "interactive", short: "i", summary: "pass standard input on" },
    { name: "tty", short: "t", summary: "give it a terminal" },
    ...RUN_FLAGS,
    { name: "no-stdin", short: "n", summary: "read nothing, which is the default" },
  ],
  async run(context) {
    const { operands, switches } = context.args;
    if (operands.length === 0) throw new UsageError("exec needs a command: hotboot exec -- CMD [ARG…]");
    const isInteractive = switches.has("interactive");
    if (isInteractive && switches.has("no-stdin")) {
      throw new UsageError("--interactive and --no-stdin contradict each other: choose one");
    }
    if (switches.has("tty")) {
      if (switches.has("json")) throw new UsageError("--json and --tty contradict each other: choose one");
      return await execOnTerminal(context, operands, isInteractive);
    }
    const { exec } = await import("../../guest/exec.ts");
    const emulator = await emulatorOf(context);
    const options: ExecOptions = {
      ...runOptions(context),
      command: operands,
      ...(isInteractive && { input: Deno.stdin.readable }),
    };
    if (!switches.has("json")) return await exec(emulator, { ...options, stdout: print, stderr: printError });

    const [stdout, stderr] = [new TextDecoder(), new TextDecoder()];
    const result = { exitCode: 0, stdout: "", stderr: "" };
    result.exitCode = await exec(emulator, {
      ...options,
      stdout: (bytes) => void (result.stdout += stdout.decode(bytes, { stream: true })),
      stderr: (bytes) => void (result.stderr += stderr.decode(bytes, { stream: true })),
    });
    await printJson(result);
    return result.exitCode;
  },
};

/** The values of {@linkcode RUN_FLAGS}. */
function runOptions({ args: { values: { env, workdir, user } } }: CommandContext): Omit<ExecOptions, "command"> {
  const variables = env === undefined ? [] : env.split(SEPARATOR).map((entry) => {
    const [name, ...value] = entry.split("=");
    if (value.length === 0) throw new UsageError(`--env takes NAME=VALUE, not '${entry}'`);
    return [name, value.join("=")];
  });
  return { env: Object.fromEntries(variables), workdir, user };
}

/** Runs it on a terminal in the guest that follows this one, and is typed on if `isInteractive`. */
export async function execOnTerminal(
  context: CommandContext,
  command: string[],
  isInteractive: boolean,
): Promise<number> {
  const { exec } = await import("../../guest/exec.ts");
  const { RawKeyboard, screen, terminalSize, terminalSizes } = await import("../ui/terminal.ts");
  if (isInteractive && !Deno.stdin.isTerminal()) {
    throw new UsageError("standard input is no terminal: leave out -t to pipe into the program");
  }
  const options = { ...runOptions(context), command };
  const emulator = await emulatorOf(context);
  const terminal = { size: terminalSize(), resizes: terminalSizes(), type: Deno.env.get("TERM") };
  if (!isInteractive) return await exec(emulator, { ...options, terminal, stdout: print });
  using _keyboard = new RawKeyboard();
  const stdout = Deno.stdout.isTerminal() ? screen() : print;
  return await exec(emulator, { ...options, terminal, input: Deno.stdin.readable, stdout });
}
