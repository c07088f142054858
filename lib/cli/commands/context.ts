/** Opens the emulator that a command's arguments name. */

import type { Emulator } from "../../instance/emulator.ts";
import { resolveArch } from "../../vm/arch.ts";
import type { Engine } from "../../snapshot/manifest.ts";
import { type Arguments, type CommandContext, type Flag, oneOf } from "./command.ts";
import { reporterOf } from "./reporter.ts";

/** The emulator that the common options name. */
export async function emulatorOf(context: CommandContext): Promise<Emulator> {
  const { openEmulator } = await import("../../instance/emulator.ts");
  const { signal, token, login, network, emulator, args: { values: { instance, arch } } } = context;
  return await openEmulator({
    ...emulator,
    instance,
    arch: resolveArch(arch),
    signal,
    token,
    login,
    network,
    report: reporterOf(context),
  });
}

const ENGINES: readonly Engine[] = ["instant", "mapped-ram"];

/** For commands that may capture. */
export const ENGINE_FLAG: Flag = {
  name: "engine",
  value: "NAME",
  completes: ENGINES,
  summary: "how to save RAM: instant or mapped-ram (default: the profile's, else instant)",
};

/** Its value. @throws {UsageError} if it is not an engine. */
export function engineOption({ values: { engine } }: Arguments): Engine | undefined {
  return oneOf("engine", engine, ENGINES);
}
