/** Runs a command in its Worker. */

import type { Profile } from "../../profile/profile.ts";
import type { SandboxServices, Work } from "../permissions/sandbox.ts";
import { adviseFor } from "../ui/console.ts";
import { OK, reportFailure } from "./outcome.ts";
import { allCommands, findCommand } from "./verbs.ts";

/** Runs it, and returns the exit code. */
export async function work(
  { command: name, args, emulator, token, login, network }: Work,
  services: SandboxServices,
): Promise<number> {
  const { interrupts, symlink } = services;
  const { signal } = interrupts;
  adviseFor(args);
  try {
    const command = await findCommand(name);
    return await command.run({
      args,
      signal,
      allCommands,
      takeInterrupts: (handler) => interrupts.takeOver(handler),
      symlink,
      ...(token !== undefined && { token }),
      ...(login !== undefined && { login }),
      ...(network && { network }),
      ...(emulator && {
        emulator: {
          profile: { profile: emulator.profile as Profile, url: new URL(emulator.url) },
          home: emulator.home,
        },
      }),
    }) ?? OK;
  } catch (error) {
    return await reportFailure(error, name, { signal, isVerbose: args.switches.has("verbose") });
  }
}
