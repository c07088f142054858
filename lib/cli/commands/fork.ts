import { formatDuration } from "../../base/format.ts";
import { type Command, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { printForProgram } from "./start.ts";
import { KEEP_SECRETS_FLAG, NO_FALLBACK_FLAG, PORT_FLAG, portsOption } from "./starting.ts";

const HELP = "see 'hotboot fork --help'";

export const command: Command = {
  operands: "[SOURCE] NAME",
  about:
    "Start a new instance NAME that continues where SOURCE is, with secrets, clock, randomness and ports of its own. SOURCE\n" +
    "is an instance that runs or is suspended, or a checkpoint. By default it is the profile's own instance or, if that\n" +
    "neither runs nor is suspended, the newest snapshot. A running source stands still for a moment and runs on.\n" +
    "--json also gives the variables of the profile's environment.",
  activity: "forking",
  examples: [
    "hotboot fork review-42",
    "hotboot fork with-data review-42  # from the checkpoint, or the instance, with-data",
    "hotboot fork review-42 --port backend=9001 --json",
  ],
  flags: [PORT_FLAG, KEEP_SECRETS_FLAG, NO_FALLBACK_FLAG],
  usesPorts: true,
  implied({ values, switches, operands }) {
    const [name, source, ...more] = operands.toReversed();
    if (name === undefined || more.length > 0) throw new UsageError(`fork takes [SOURCE] NAME: ${HELP}`);
    if (values.instance !== undefined) {
      throw new UsageError(`fork takes the new instance as NAME, not as --instance: ${HELP}`);
    }
    return { values: { ...values, instance: name, ...(source && { source }) }, switches, operands };
  },
  async run(context) {
    const { fork } = await import("../../emulator/fork.ts");
    const { switches, values: { source } } = context.args;
    const emulator = await emulatorOf(context);
    const result = await fork(emulator, {
      source,
      keepSecrets: switches.has("keep-secrets"),
      noFallback: switches.has("no-fallback"),
      ports: portsOption(context.args, emulator.profile),
    });
    if (result.stoodStillMs > 0) {
      emulator.report.step(`the source stood still for ${formatDuration(result.stoodStillMs / 1000)}`);
    }
    await printForProgram(context, emulator, result);
  },
};
