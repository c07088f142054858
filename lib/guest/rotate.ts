/** Every start's own secrets: made, put into the guest, proven there, and kept for the user. */

import { HotbootError, messageOf } from "../base/error.ts";
import type { Profile } from "../profile/profile.ts";
import { brokenProof, placeholdersOf, type Proof, proveChecks, proveRotation } from "./proof.ts";
import { generateSecrets, type Secrets } from "../profile/secrets.ts";
import type { Emulator } from "../instance/emulator.ts";
import { GuestFault } from "./health.ts";
import { channelsOf, instancePath, type InstanceRecord, requireRunning, writeSecrets } from "../instance/instance.ts";
import { readKept } from "../instance/kept.ts";
import { becomeHealthy, type Launched } from "../emulator/launch.ts";
import { Timeline } from "../base/timeline.ts";
import { type Sleeper, wake } from "./wake.ts";

const DEFAULT_TIMEOUT_S = 60;

/** New secrets for a start, where the profile has any and the caller wants them. */
export function newSecrets({ secrets }: Profile, noRotation = false): Secrets | undefined {
  return secrets && !noRotation ? generateSecrets(secrets) : undefined;
}

/**
 * Wakes the guest with its secrets, and returns when the services have shown that those are in effect, and that they are
 * healthy: what was so before the rotation may be what it has ended.
 *
 * @param seconds The limit for the health checks.
 * @throws {HotbootError} when anything of it fails; the guest is of no use then.
 */
export async function wakeAndProve(
  emulator: Emulator,
  launched: Launched,
  sleeper: Sleeper,
  timeline: Timeline,
  seconds: number,
): Promise<void> {
  const { profile, report } = emulator;
  const { secrets } = sleeper;
  const woken = wake(emulator, launched.channels.agent, sleeper, timeline);
  const healthy = async () => {
    if (secrets) await woken;
    await becomeHealthy(emulator, launched, timeline, seconds);
  };
  await Promise.all([woken.then(() => secrets && prove(emulator, launched, secrets, timeline)), healthy()]);
  if (!secrets && profile.secrets) {
    report.warn(
      "secrets were NOT rotated: this instance runs with the image's placeholders, which everybody knows",
    );
  }
}

async function prove(emulator: Emulator, launched: Launched, secrets: Secrets, timeline: Timeline): Promise<void> {
  const { report, signal } = emulator;
  const onHold = (name: string) => report.detail(`proven: ${name}`);
  await timeline.phase(
    "proof",
    () => proveRotation(proofOf(emulator, launched.record), secrets, rotationMs(emulator), signal, onHold),
  );
}

/**
 * Sees to it that the proof of a rotation can fail: to be done with a guest that is healthy and has its placeholders.
 *
 * @throws {GuestFault} when it cannot.
 */
export async function checkProof(emulator: Emulator, { record }: Launched, timeline: Timeline): Promise<void> {
  const { profile, signal } = emulator;
  if (!profile.secrets) return;
  try {
    await timeline.phase("placeholders", () => proveChecks(proofOf(emulator, record), rotationMs(emulator), signal));
  } catch (error) {
    signal.throwIfAborted();
    throw new GuestFault(`${messageOf(error)}: correct the profile '${profile.name}'`);
  }
}

/** The first check that no longer holds of an instance with secrets of its own: a service has its placeholders back. */
export async function lostSecrets(emulator: Emulator, record: InstanceRecord): Promise<string | undefined> {
  if (record.secrets !== "rotated" || !emulator.profile.rotation) return undefined;
  return await brokenProof(proofOf(emulator, record), await ownSecrets(emulator), emulator.signal);
}

/** Has the guest's services take the instance's own secrets once more. @throws {HotbootError} when they do not. */
export async function rotateAgain(emulator: Emulator, record: InstanceRecord): Promise<void> {
  const secrets = await ownSecrets(emulator);
  await wake(emulator, (await channelsOf(emulator)).agent, { secrets }, new Timeline());
  await proveRotation(proofOf(emulator, record), secrets, rotationMs(emulator), emulator.signal);
}

function proofOf({ profile }: Emulator, { ports }: Pick<InstanceRecord, "ports">): Proof {
  return { checks: profile.rotation!.proof, specs: profile.secrets!, ports };
}

function rotationMs({ profile }: Emulator): number {
  return (profile.rotation!.timeout ?? DEFAULT_TIMEOUT_S) * 1000;
}

/** Keeps proven secrets where {@linkcode credentials} finds them, or the placeholders that are in their place, while the run lasts. */
export async function keepSecrets(emulator: Emulator, record: InstanceRecord, secrets?: Secrets): Promise<void> {
  if (!emulator.profile.secrets) return;
  record.secrets = secrets ? "rotated" : "placeholders";
  await writeSecrets(emulator, secrets ?? placeholdersOf(emulator.profile.secrets), secrets !== undefined);
}

/** The secrets that are in effect in an instance with this record: its own, or the image's; none where it has none. */
export async function secretsInEffect(
  emulator: Emulator,
  { secrets }: Pick<InstanceRecord, "secrets">,
): Promise<Secrets> {
  if (secrets === "rotated") return await ownSecrets(emulator);
  return placeholdersOf(emulator.profile.secrets ?? []);
}

async function ownSecrets(emulator: Emulator): Promise<Secrets> {
  return JSON.parse(await Deno.readTextFile(instancePath(emulator, "credentials")));
}

/**
 * The secrets of the running or suspended instance, by the names that the profile gives them.
 *
 * Needs read permission for the home and net permission for the instance's sockets.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @returns The secrets' values; they are valid until the instance is stopped for good.
 * @throws {HotbootError} when it does not run, or has no secrets of its own.
 *
 * @example
 * ```ts
 * import { credentials, openEmulator } from "@hotboot/hotboot";
 *
 * const { SECRET_SERVER_KEY } = await credentials(await openEmulator({ profile: "demo" }));
 * console.log(SECRET_SERVER_KEY.length);
 * ```
 */
export async function credentials(emulator: Emulator): Promise<Secrets> {
  const { secrets } = await readKept(emulator) ?? await requireRunning(emulator) ?? {};
  const { instance } = emulator;
  if (secrets === "rotated") return await ownSecrets(emulator);
  throw new HotbootError(
    secrets === "placeholders"
      ? `instance '${instance}' was started without rotation and has the image's placeholders: stop and start it`
      : `instance '${instance}' has no secrets: its profile names none`,
  );
}
