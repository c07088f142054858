/** The options of the commands that start an emulator. */

import type { StartOptions } from "../../emulator/start_result.ts";
import type { Arguments, Flag } from "./command.ts";
import { ENGINE_FLAG, engineOption } from "./context.ts";

/** For all that may boot. */
export const NO_FALLBACK_FLAG: Flag = {
  name: "no-fallback",
  summary: "fail, instead of booting (again), when resuming, capturing or hardware acceleration does not work",
};

/** What they are. */
export const START_FLAGS: Flag[] = [
  { name: "cold", variable: "EMULATOR_NO_SNAPSHOT", summary: "boot, and neither use nor make a snapshot" },
  NO_FALLBACK_FLAG,
  { name: "no-capture", summary: "make no snapshot where there is none that can be resumed" },
  ENGINE_FLAG,
  {
    name: "no-rotation",
    variable: "EMULATOR_NO_ROTATION",
    summary: "leave the image's placeholders in the place of secrets",
  },
];

/** Their values. */
export function startOptions(args: Arguments): StartOptions {
  const { switches } = args;
  return {
    cold: switches.has("cold"),
    noFallback: switches.has("no-fallback"),
    noCapture: switches.has("no-capture"),
    engine: engineOption(args),
    noRotation: switches.has("no-rotation"),
  };
}

/** For those that make a project. */
export const CONFIG_FILE_FLAG: Flag = {
  name: "config-file",
  value: "FILE",
  summary: "make a project of this config file, where the profile can",
};
