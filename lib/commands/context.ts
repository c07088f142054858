/** From a command's arguments to an emulator. */

import { type Emulator, openEmulator } from "../emulator/emulator.ts";
import { resolveArch } from "../vm/arch.ts";
import type { CommandContext } from "./command.ts";
import { reporterOf } from "./reporter.ts";

/** The emulator that the common options name. */
export function emulatorOf(context: CommandContext): Promise<Emulator> {
  const { profile, home, instance, arch } = context.args.values;
  return openEmulator({
    profile,
    home,
    instance,
    arch: resolveArch(arch),
    signal: context.signal,
    report: reporterOf(context),
  });
}
