/** The options of the commands that start an emulator. */

import type { StartOptions } from "../../emulator/start_result.ts";
import type { Arguments, Flag } from "./command.ts";
import { ENGINE_FLAG, engineOption } from "./context.ts";

/** For all commands that may boot. */
export const NO_FALLBACK_FLAG: Flag = {
  name: "no-fallback",
  summary: "fail if resuming, capturing or hardware acceleration does not work, instead of booting (again)",
};

/** The options. */
export const START_FLAGS: Flag[] = [
  { name: "cold", variable: "EMULATOR_NO_SNAPSHOT", summary: "boot; do not resume, and do not capture" },
  NO_FALLBACK_FLAG,
  { name: "no-capture", summary: "do not capture, even if there is no snapshot to resume" },
  ENGINE_FLAG,
  {
    name: "no-rotation",
    variable: "EMULATOR_NO_ROTATION",
    summary: "keep the image's placeholders instead of making secrets",
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

/** For the commands that make a project. */
export const CONFIG_FILE_FLAG: Flag = {
  name: "config-file",
  value: "FILE",
  summary: "make a project from this config file, if the profile has a project request",
};
