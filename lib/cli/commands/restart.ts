import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { printForProgram } from "./start.ts";
import { START_FLAGS, startOptions } from "./starting.ts";

export const command: Command = {
  about:
    "Shut the guest down and boot it again, with its disk. A suspended instance continues first, so that nothing is lost\n" +
    "that is only in its memory. An instance that does not run is started. Like each boot, this makes new secrets.\n" +
    "'restart' prints the addresses of the services; --json also gives the variables of the profile's environment.\n" +
    "With --discard the instance's disk and memory are dropped, and it begins where it began: at the checkpoint that it was\n" +
    "started from or forked with, else at the newest snapshot. It keeps its ports.",
  activity: "restarting",
  examples: [
    "hotboot restart",
    "hotboot restart --discard  # begin again where the instance began",
  ],
  flags: [
    { name: "discard", summary: "drop the disk and the memory, and begin where the instance began" },
    ...START_FLAGS,
  ],
  usesPorts: true,
  async run(context) {
    const { restart } = await import("../../emulator/restart.ts");
    const emulator = await emulatorOf(context);
    const discard = context.args.switches.has("discard");
    const result = await restart(emulator, { ...startOptions(context.args, emulator.profile), discard });
    await printForProgram(context, emulator, result);
  },
};
