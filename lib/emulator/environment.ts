/** What programs on the host are told of an instance. */

import { fill } from "../base/fill.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { ProjectAnswer } from "./project.ts";
import { runningValues } from "./running_values.ts";

/**
 * The variables that the profile's `environment` gives to programs that use the running instance: its addresses and
 * secrets.
 *
 * Needs read permission for the home and net permission for the instance's sockets.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param answer What {@linkcode openProject} has given; with it those of the profile's `project` are there, too.
 * @returns The variables' values by their names, secrets among them; empty where the profile has no `environment`.
 * @throws {HotbootError} when the instance does not run.
 *
 * @example
 * ```ts
 * import { environment, openEmulator } from "@hotboot/hotboot";
 *
 * const env = await environment(await openEmulator({ profile: "./profile.json" }));
 * const { code } = await new Deno.Command("npm", { args: ["test"], env }).spawn().status;
 * console.log(code);
 * ```
 */
export async function environment(emulator: Emulator, answer?: ProjectAnswer): Promise<Record<string, string>> {
  const { value } = await runningValues(emulator);
  const { environment = {}, project } = emulator.profile;
  const texts = Object.entries({ ...environment, ...(answer && project?.environment) });
  const answered = (variable: string) => {
    const field = variable.replace(/^answer\./, "");
    return field !== variable && answer && Object.hasOwn(answer, field) ? String(answer[field]) : undefined;
  };
  return Object.fromEntries(
    texts.map(([name, text]) => [name, fill(text, (variable) => answered(variable) ?? value(variable))]),
  );
}
