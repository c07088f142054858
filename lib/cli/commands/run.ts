import type { Interrupt } from "../interrupts.ts";
import { type Command, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { CONFIG_FILE_FLAG, START_FLAGS, startOptions } from "./starting.ts";

export const command: Command = {
  operands: '-- CMD [ARG…] | "LINE"',
  stopsEarly: true,
  about:
    "Run a program on this machine while the emulator is up: start it, unless it runs already, wait until it is\n" +
    "healthy, and run the program with the profile's environment. What was started is suspended afterwards, as by\n" +
    "'hotboot stop': the next start goes on there, with all data. SIGINT, SIGTERM and SIGHUP are the program's to decide\n" +
    "about; hotboot waits for it. The exit code is the program's (128 + n: ended by signal n; 127: there is none; 126: it\n" +
    "cannot be executed). With --config-file the environment has what came of it, too. A single operand with a space in it is\n" +
    'a line for the shell: hotboot run "npm run dev".',
  flags: [...START_FLAGS, CONFIG_FILE_FLAG],
  async run(context) {
    const { run } = await import("../../emulator/run.ts");
    const { operands, values } = context.args;
    if (operands.length === 0) throw new UsageError("run needs a command: hotboot run -- CMD [ARG…]");
    return await run(await emulatorOf(context), {
      ...startOptions(context.args),
      command: operands,
      configFile: values["config-file"],
      onSpawn: (child) => context.takeInterrupts((name) => pass(name, child)),
    });
  },
};

/**
 * A terminal sends SIGINT (Ctrl-C) and SIGHUP (its end) to the program itself, which is in the same process group as
 * hotboot: once is enough. Nobody says where a signal is from, so on a terminal these two are never passed on.
 */
function pass(name: Interrupt, child: Deno.ChildProcess): void {
  const isOnTerminal = [Deno.stdin, Deno.stdout, Deno.stderr].some((stream) => stream.isTerminal());
  if (isOnTerminal && name !== "SIGTERM") return;
  try {
    child.kill(name);
  } catch {
    // it has ended, and the emulator is being suspended: that takes a moment, and is worth it
  }
}
