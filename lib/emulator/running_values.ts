/** What the profile's variables stand for while an instance runs. */

import { secretsInEffect } from "../guest/rotate.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { InstanceRecord } from "../instance/record.ts";
import { requireUp } from "../instance/state.ts";
import { portsNow } from "../instance/ports.ts";
import { portValue } from "../profile/references.ts";
import { type Secrets, secretValue } from "../profile/secrets.ts";

/** An instance that runs, and what variables stand for in it. */
export interface RunningValues {
  /** Its record. */
  record: InstanceRecord;
  /** The secrets in effect. */
  secrets: Secrets;
  /** What `ports.NAME.host`, `ports.NAME.guest` and `secret.NAME` stand for. */
  value(variable: string): string | undefined;
}

/** @throws {HotbootError} when the instance does not run. */
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
