import { printJson } from "../ui/console.ts";
import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  about: "End the instance and remove all that it has left. The image and its snapshots stay.",
  flags: [],
  async run(context) {
    const { reset } = await import("../../emulator/stop.ts");
    const emulator = await emulatorOf(context);
    const { stopped } = await reset(emulator);
    if (context.args.switches.has("json")) return await printJson({ stopped });
    emulator.report.step(`instance '${emulator.instance}' is reset${stopped ? "; it ran" : ""}`);
  },
};
