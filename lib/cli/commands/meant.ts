/** Guesses which instance a mistyped name meant. */

import { didYouMean } from "../../base/closest.ts";
import type { Command, CommandContext } from "./command.ts";

/** Said when a command failed; empty unless the user typed the name of an instance that is not there, and one is like it. */
export async function meantInstance(command: Command, context: CommandContext): Promise<string> {
  const { instance } = context.args.values;
  const makesInstances = command.usesPorts && !command.trust;
  if (instance === undefined || command.standalone || makesInstances) return "";
  try {
    const [{ emulatorOf }, { instanceNames }] = await Promise.all([
      import("./context.ts"),
      import("../../instance/users.ts"),
    ]);
    const names = await instanceNames(await emulatorOf(context));
    const guess = names.includes(instance) ? "" : didYouMean(instance, names);
    return guess && `there is no instance '${instance}'${guess}`;
  } catch {
    return ""; // what went wrong is said already
  }
}
