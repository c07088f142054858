/** The host ports that a start needs. */

import { HotbootError, messageOf } from "../base/error.ts";
import type { Emulator } from "../instance/emulator.ts";
import { readRecord } from "../instance/record.ts";
import { instanceNames } from "../instance/users.ts";

/** @throws {HotbootError} with the first of the profile's ports that cannot be listened on, and who uses it. */
export async function requireFreePorts(emulator: Emulator): Promise<void> {
  for (const [name, { host, variable }] of Object.entries(emulator.profile.ports)) {
    try {
      Deno.listen({ hostname: "127.0.0.1", port: host }).close();
    } catch (error) {
      const why = error instanceof Deno.errors.AddrInUse
        ? await whoHas(emulator, host)
        : `cannot be listened on (${messageOf(error)}): fix that`;
      const change = variable ? `set ${variable} to another` : `change ports.${name}.host in the profile`;
      throw new HotbootError(`port ${host} ('${name}') ${why}, or ${change}`);
    }
  }
}

async function whoHas(emulator: Emulator, port: number): Promise<string> {
  for (const instance of await instanceNames(emulator)) {
    const record = await readRecord({ ...emulator, instance });
    if (!record || "damaged" in record || record.phase === "stopped") continue;
    if (!Object.values(record.ports).includes(port)) continue;
    return `belongs to instance '${instance}': stop it ('hotboot stop --profile ${record.profile} --instance ${instance}')`;
  }
  return "is taken by another program: end that program";
}
