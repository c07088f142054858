import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { printStarted } from "./start.ts";
import { START_FLAGS, startOptions } from "./starting.ts";

export const command: Command = {
  about:
    "Shut the guest down and boot it again, with its disk. A suspended instance continues first, so that nothing is lost\n" +
    "that is only in its memory. An instance that does not run is started. Like each boot, this makes new secrets.\n" +
    "'restart' prints the addresses of the services.",
  flags: START_FLAGS,
  usesPorts: true,
  async run(context) {
    const { restart } = await import("../../emulator/restart.ts");
    const emulator = await emulatorOf(context);
    await printStarted(context, emulator, await restart(emulator, startOptions(context.args, emulator.profile)));
  },
};
