import { printJson } from "../ui/console.ts";
import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  trust: "ends",
  about:
    "End the instance and remove its files: its disk, saved memory, secrets and console log. Images and snapshots stay.\n" +
    "No other command acts on a damaged instance, or on a QEMU that does not answer. 'reset' kills such a QEMU.",
  activity: "dropping the instance",
  examples: [
    "hotboot reset",
    "hotboot reset --instance review-42",
  ],
  flags: [],
  async run(context) {
    const { reset } = await import("../../emulator/stop.ts");
    const emulator = await emulatorOf(context);
    const { stopped } = await reset(emulator);
    if (context.args.switches.has("json")) return await printJson({ stopped });
    emulator.report.step(`instance '${emulator.instance}' was reset${stopped ? "; it was running" : ""}`);
  },
};
