/** The variables for programs on the host that use an instance. */

import { fill } from "../base/fill.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { ProjectAnswer } from "./project.ts";
import { runningValues } from "./running_values.ts";

/**
 * The variables that the profile's `environment` defines for programs that use the running instance: its addresses and
 * secrets.
 *
 * Needs read permission for the home and net permission for the instance's sockets.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param answer The answer of {@linkcode openProject}; adds the variables of the profile's `project`.
 * @returns The variables' values by name, including secrets; empty if the profile has no `environment`.
 * @throws {HotbootError} if the instance does not run.
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
