/** From a command's arguments to an emulator. */

import { type Emulator, openEmulator } from "../emulator/emulator.ts";
import { consoleReporter } from "../ui/console.ts";
import type { CommandContext } from "./command.ts";

/** The emulator that the common options name. */
export function emulatorOf({ args, signal }: CommandContext): Promise<Emulator> {
  const { profile, home, instance } = args.values;
  const level = args.switches.has("quiet") ? "quiet" : args.switches.has("verbose") ? "verbose" : "normal";
  return openEmulator({ profile, home, instance, signal, report: consoleReporter(level) });
}
