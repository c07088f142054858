import { HotbootError } from "../../base/error.ts";
import type { Emulator } from "../../instance/emulator.ts";
import type { Interrupt } from "../interrupts.ts";
import { leaveOutput } from "../ui/console.ts";
import { type Command, type CommandContext, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { printForProgram } from "./start.ts";
import { CONFIG_FILE_FLAG, FROM_FLAG, KEEP_SECRETS_FLAG, START_FLAGS, startOptions } from "./starting.ts";

export const command: Command = {
  operands: '-- CMD [ARG…] | "LINE" | --fresh',
  stopsEarly: true,
  about:
    "Run a program on this machine while the emulator is up. 'run' starts the emulator if it does not run, waits until it\n" +
    "is healthy, and gives the program the variables of the profile's environment. With --config-file the program also gets\n" +
    "the project's variables. If 'run' started the emulator, it suspends it afterwards, as 'hotboot stop' does.\n" +
    "SIGINT, SIGTERM and SIGHUP go to the program, and hotboot waits for it. The exit code is the program's: 128 + n if\n" +
    "signal n ended it, 127 if there is no such program, 126 if it cannot be executed. A single operand with a space in it\n" +
    'is a line for the shell: hotboot run "npm run dev".\n' +
    "With --fresh the program gets a new instance with ports of its own, which is dropped afterwards. Several can run at once.\n" +
    "Without a program, 'run --fresh' prints where the instance is, as 'start' does, and drops it when standard input ends:\n" +
    "also when the program at its other end dies. If the last line there is 'keep', the instance is suspended and left to you.\n" +
    "--json prints one line, with the variables of the profile's environment.",
  activity: "starting",
  examples: [
    "hotboot run -- npm test",
    'hotboot run "npm run dev"',
    "hotboot run --fresh -- npm test  # on a new instance, dropped afterwards",
  ],
  flags: [
    { name: "fresh", summary: "use a new instance, and drop it afterwards" },
    ...START_FLAGS,
    { ...FROM_FLAG, completes: "sources", summary: "start from this checkpoint; with --fresh also from an instance" },
    KEEP_SECRETS_FLAG,
    CONFIG_FILE_FLAG,
  ],
  implied({ values, switches, operands }) {
    if (!switches.has("fresh")) return { values, switches, operands };
    if (values.instance !== undefined) throw new UsageError("--fresh and --instance contradict each other: choose one");
    const instance = `fresh-${crypto.randomUUID().slice(0, 8)}`;
    return { values: { ...values, instance }, switches, operands };
  },
  usesPorts: true,
  spares: ({ switches, operands }, wanted) => switches.has("fresh") && operands.length > 0 ? wanted : 0,
  async run(context) {
    const { run } = await import("../../emulator/run.ts");
    const { operands, switches, values } = context.args;
    if (operands.length === 0 && switches.has("fresh")) return await hold(context);
    if (operands.length === 0) throw new UsageError("run needs a command: hotboot run -- CMD [ARG…]");
    const emulator = await emulatorOf(context);
    let isInterrupted = false;
    const code = await run(emulator, {
      ...startOptions(context.args, emulator.profile),
      command: operands,
      fresh: switches.has("fresh"),
      configFile: values["config-file"],
      onSpawn: (child) => {
        leaveOutput();
        context.takeInterrupts((name) => {
          isInterrupted = true;
          pass(name, child);
        });
      },
    });
    if (switches.has("fresh") && !isInterrupted) await refill(context, emulator);
    return code;
  },
};

/** Has a new instance until standard input ends. */
async function hold(context: CommandContext): Promise<void> {
  const { startFresh, withFresh } = await import("../../emulator/fresh.ts");
  const { args, signal } = context;
  if (args.values["config-file"] !== undefined) throw new UsageError("--config-file needs a program to run");
  const emulator = await emulatorOf(context);
  await withFresh(emulator, async (keep) => {
    await printForProgram(context, emulator, await startFresh(emulator, startOptions(args, emulator.profile)));
    if (await lastLine(Deno.stdin.readable, signal) !== "keep") return;
    const { suspendForUser } = await import("../../testing/keep.ts");
    await keep();
    await suspendForUser(emulator);
  });
}

/** Reads to the end, and gives the last line. */
async function lastLine(stream: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  const write = (bytes: Uint8Array) =>
    void (text = (text + decoder.decode(bytes, { stream: true })).slice(-LONGEST_LINE));
  await stream.pipeTo(new WritableStream({ write }), { signal });
  return text.trimEnd().split("\n").at(-1)!;
}

/** Of standard input this much is looked at. */
const LONGEST_LINE = 100;

/** Makes the spares that are missing now. An interrupt, which the program would have got so far, ends only that. */
async function refill(context: CommandContext, emulator: Emulator): Promise<void> {
  const { refillSpares } = await import("../../emulator/spares.ts");
  const end = new AbortController();
  context.takeInterrupts((name) => end.abort(new HotbootError(`interrupted by ${name}`)));
  await refillSpares({ ...emulator, signal: end.signal });
}

/**
 * A terminal sends SIGINT (Ctrl-C) and SIGHUP (when it closes) to the program itself, which is in hotboot's process group.
 * Once is enough, and a signal does not say where it came from, so on a terminal hotboot never passes these two on.
 */
function pass(name: Interrupt, child: Deno.ChildProcess): void {
  const isOnTerminal = [Deno.stdin, Deno.stdout, Deno.stderr].some((stream) => stream.isTerminal());
  if (isOnTerminal && name !== "SIGTERM") return;
  try {
    child.kill(name);
  } catch {
    // it has ended, and the emulator is being suspended: that takes only a moment
  }
}
