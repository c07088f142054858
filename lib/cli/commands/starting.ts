/** The options of the commands that start an emulator. */

import type { StartOptions } from "../../emulator/start_result.ts";
import { isPort } from "../../instance/ports.ts";
import type { Profile } from "../../profile/profile.ts";
import { type Arguments, type Flag, UsageError } from "./command.ts";
import { ENGINE_FLAG, engineOption } from "./context.ts";

/** For all commands that may boot. */
export const NO_FALLBACK_FLAG: Flag = {
  name: "no-fallback",
  summary: "fail if resuming, capturing or hardware acceleration does not work, instead of booting (again)",
};

/** For all commands that choose ports. */
export const PORT_FLAG: Flag = {
  name: "port",
  value: "NAME=N",
  repeats: true,
  summary: "use port N of this machine for the profile's port NAME, until 'reset' (repeatable)",
};

/** For all commands that start from a checkpoint. */
export const KEEP_SECRETS_FLAG: Flag = {
  name: "keep-secrets",
  summary: "keep the secrets of the checkpoint or source",
};

/** For all commands that may start from a checkpoint. */
export const FROM_FLAG: Flag = {
  name: "from",
  value: "NAME",
  completes: "checkpoints",
  summary: "start from this checkpoint",
};

/** The options. */
export const START_FLAGS: Flag[] = [
  { name: "cold", variable: "EMULATOR_NO_SNAPSHOT", summary: "boot; do not resume, and do not capture" },
  NO_FALLBACK_FLAG,
  { name: "no-capture", summary: "do not capture, even if there is no snapshot to resume" },
  ENGINE_FLAG,
  PORT_FLAG,
  {
    name: "no-rotation",
    variable: "EMULATOR_NO_ROTATION",
    summary: "keep the image's placeholders instead of making secrets",
  },
];

/** Their values. */
export function startOptions(args: Arguments, profile: Profile): StartOptions {
  const { switches, values: { from } } = args;
  const keepSecrets = switches.has("keep-secrets");
  if (keepSecrets && from === undefined) throw new UsageError("--keep-secrets needs --from: name a checkpoint");
  const other = ["cold", "no-capture"].find((name) => switches.has(name)) ?? (args.values.engine && "engine");
  if (from !== undefined && other) throw new UsageError(`--from and --${other} contradict each other: choose one`);
  return {
    from,
    keepSecrets,
    cold: switches.has("cold"),
    noFallback: switches.has("no-fallback"),
    noCapture: switches.has("no-capture"),
    engine: engineOption(args),
    ports: portsOption(args, profile),
    noRotation: switches.has("no-rotation"),
  };
}

/** The ports that the command line names. @throws {UsageError} when the profile has none of that name, or it is no port. */
export function portsOption({ values: { port } }: Arguments, { ports }: Profile): Record<string, number> {
  const given = port === undefined ? [] : port.split(",").map((text) => {
    const [, name, digits] = text.match(/^([^=]+)=(\d+)$/) ?? [];
    if (name !== undefined && Object.hasOwn(ports, name) && isPort(Number(digits))) return [name, Number(digits)];
    throw new UsageError(
      `--port takes NAME=N with a port of the profile (${
        Object.keys(ports).join(", ")
      }) and a number from 1 to 65535, not '${text}'`,
    );
  });
  return Object.fromEntries(given);
}

/** For the commands that make a project. */
export const CONFIG_FILE_FLAG: Flag = {
  name: "config-file",
  value: "FILE",
  summary: "make a project from this config file, if the profile has a project request",
};
