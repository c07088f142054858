import { stop } from "../emulator/stop.ts";
import { printJson } from "../ui/console.ts";
import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  about: "Power the instance off at once. Changes since its snapshot was captured are dropped at the next start.",
  flags: [],
  async run(context) {
    const emulator = await emulatorOf(context);
    const { stopped } = await stop(emulator);
    if (context.args.switches.has("json")) return await printJson({ stopped });
    emulator.report.step(
      stopped
        ? "powered off; the next start goes back to the snapshot, without what was changed since"
        : `instance '${emulator.instance}' does not run`,
    );
  },
};
