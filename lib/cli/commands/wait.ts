import { printJson } from "../ui/console.ts";
import { type Command, wholeNumber } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  trust: "looks",
  about:
    "Wait until the instance runs and is healthy, which is when 'hotboot status' exits with 0. 'wait' itself starts and\n" +
    "stops nothing. If the time is over first, the exit code is 1, and the message says what is missing.",
  activity: "waiting",
  examples: [
    "hotboot wait --timeout 60",
    "hotboot wait --stopped",
  ],
  flags: [
    { name: "stopped", summary: "wait until the instance no longer runs" },
    { name: "timeout", value: "SECONDS", summary: "how long to wait at the most (default: without a limit)" },
  ],
  usesPorts: true,
  async run(context) {
    const { waitFor } = await import("../../emulator/wait.ts");
    const { args } = context;
    const seconds = wholeNumber(args, "timeout");
    const emulator = await emulatorOf(context);
    const result = await waitFor(emulator, {
      stopped: args.switches.has("stopped"),
      ...(seconds !== undefined && { timeoutMs: seconds * 1000 }),
    });
    if (args.switches.has("json")) return await printJson(result);
    emulator.report.step(`instance '${emulator.instance}' is ${result.state}${result.running ? " and healthy" : ""}`);
  },
};
