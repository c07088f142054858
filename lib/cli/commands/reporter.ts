/** The reporter that a command's arguments ask for. */

import type { Reporter } from "../../instance/emulator.ts";
import { consoleReporter } from "../ui/console.ts";
import type { CommandContext } from "./command.ts";

/** Reports on standard error as much as the common options ask for. */
export function reporterOf({ args }: CommandContext): Reporter {
  return consoleReporter(args.switches.has("quiet") ? "quiet" : args.switches.has("verbose") ? "verbose" : "normal");
}
