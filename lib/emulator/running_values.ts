/** The values of the profile's variables while an instance runs. */

import { secretsInEffect } from "../guest/rotate.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { InstanceRecord } from "../instance/record.ts";
import { requireUp } from "../instance/state.ts";
import { portsNow } from "../instance/ports.ts";
import { portValue } from "../profile/references.ts";
import { type Secrets, secretValue } from "../profile/secrets.ts";

/** A running instance, and the values of variables in it. */
export interface RunningValues {
  /** Its record. */
  record: InstanceRecord;
  /** The secrets in effect. */
  secrets: Secrets;
  /** The values of `ports.NAME.host`, `ports.NAME.guest` and `secret.NAME`. */
  value(variable: string): string | undefined;
}

/** @throws {HotbootError} if the instance does not run. */
export async function runningValues(emulator: Emulator): Promise<RunningValues> {
  await using up = await requireUp(emulator);
  const { record } = up;
  const secrets = await secretsInEffect(emulator, record);
  const ports = portsNow(emulator.profile.ports, record.ports);
  return {
    record,
    secrets,
    value: (name) =>
      portValue(ports, name) ?? (name.startsWith("secret.") ? secretValue(name, secrets, {}) : undefined),
  };
}
