/** What the profile's variables stand for while an instance runs. */

import { HotbootError } from "../base/error.ts";
import { portValue } from "../profile/references.ts";
import { secretValue } from "../guest/proof.ts";
import type { Secrets } from "../profile/secrets.ts";
import type { Emulator } from "../instance/emulator.ts";
import { type InstanceRecord, portsNow, requireRunning } from "../instance/instance.ts";
import { secretsInEffect } from "../guest/rotate.ts";

/** An instance that runs, and what variables stand for in it. */
export interface RunningValues {
  /** Its record. */
  record: InstanceRecord;
  /** The secrets in effect. */
  secrets: Secrets;
  /** What `ports.NAME.host`, `ports.NAME.guest` and `secret.NAME` stand for. */
  value(variable: string): string | undefined;
}

/** @throws {HotbootError} when the instance does not run, or nothing is known of it. */
export async function runningValues(emulator: Emulator): Promise<RunningValues> {
  const record = await requireRunning(emulator);
  if (!record) throw new HotbootError(`the instance.json of '${emulator.instance}' is lost: 'hotboot stop' ends it`);
  const secrets = await secretsInEffect(emulator, record);
  const ports = portsNow(emulator.profile.ports, record.ports);
  return {
    record,
    secrets,
    value: (name) =>
      portValue(ports, name) ?? (name.startsWith("secret.") ? secretValue(name, secrets, {}) : undefined),
  };
}
