/** Runs a command in its Worker. */

import { HotbootError } from "../../base/error.ts";
import type { Profile } from "../../profile/profile.ts";
import type { SandboxServices, Work } from "../permissions/sandbox.ts";
import { adviseFor, endWork, printError, printTo, showWork } from "../ui/console.ts";
import { useDisplay } from "../ui/display.ts";
import type { CommandContext } from "./command.ts";
import { meantInstance } from "./meant.ts";
import { FAILURE, OK, reportFailure } from "./outcome.ts";
import { allCommands, findCommand } from "./verbs.ts";

/** Runs it, and returns the exit code. */
export async function work(
  { command: name, args, display, emulator, prepared, token, login, network, isAskedFor }: Work,
  services: SandboxServices,
): Promise<number> {
  const { interrupts, symlink, ask } = services;
  const { signal } = interrupts;
  const { switches } = args;
  adviseFor(args);
  useDisplay(isAskedFor ? { color: "never" } : display);
  if (isAskedFor) printTo(services.output);
  const context: CommandContext = {
    args,
    signal,
    allCommands,
    takeInterrupts: (handler) => interrupts.takeOver(handler),
    symlink,
    ask,
    ...(prepared !== undefined && { prepared }),
    ...(token !== undefined && { token }),
    ...(login !== undefined && { login }),
    ...(network && { network }),
    ...(emulator && {
      emulator: {
        profile: { profile: emulator.profile as Profile, url: new URL(emulator.url) },
        home: emulator.home,
      },
    }),
  };
  const command = await findCommand(name);
  try {
    if (command.activity !== undefined && !switches.has("quiet") && !isAskedFor) showWork(command.activity);
    const code = await command.run(context) ?? OK;
    const hint = code === FAILURE ? await meantInstance(command, context) : "";
    if (hint) await printError(`hotboot: ${hint}`);
    return code;
  } catch (error) {
    const hint = error instanceof HotbootError && !signal.aborted ? await meantInstance(command, context) : "";
    if (hint) (error as HotbootError).message += `; ${hint}`;
    return await reportFailure(error, name, {
      signal,
      isVerbose: switches.has("verbose"),
      isJson: switches.has("json"),
    });
  } finally {
    endWork();
  }
}
