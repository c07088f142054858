/** Every start's own secrets: made, put into the guest, proven there, and kept for the user. */

import { HotbootError, messageOf } from "../base/error.ts";
import { Timeline } from "../base/timeline.ts";
import type { Emulator } from "../instance/emulator.ts";
import { readSecrets, writeSecrets } from "../instance/files.ts";
import type { InstanceRecord } from "../instance/record.ts";
import { refusal, requireOwn, stateOf } from "../instance/state.ts";
import type { Profile } from "../profile/profile.ts";
import { generateSecrets, placeholdersOf, type Secrets } from "../profile/secrets.ts";
import { becomeHealthy, GuestFault } from "./health.ts";
import { brokenProof, type Proof, proveChecks, proveRotation } from "./proof.ts";
import { type Sleeper, wake } from "./wake.ts";

const DEFAULT_TIMEOUT_S = 60;

/** New secrets for a start, where the profile has any and the caller wants them. */
export function newSecrets({ secrets }: Profile, noRotation = false): Secrets | undefined {
  return secrets && !noRotation ? generateSecrets(secrets) : undefined;
}

/**
 * Wakes the guest with its secrets, and returns when the services have shown that those are in effect, and that they are
 * healthy. New secrets are proven first: as long as a service that the rotation ends still answers, it is healthy, too.
 *
 * @param seconds The limit for the health checks.
 * @throws {HotbootError} when anything of it fails; the guest is of no use then.
 */
export async function wakeAndProve(
  emulator: Emulator,
  { ports, secrets: known }: InstanceRecord,
  sleeper: Sleeper,
  timeline: Timeline,
  seconds: number,
): Promise<void> {
  const { profile, report } = emulator;
  const { secrets } = sleeper;
  const woken = wake(emulator, sleeper, timeline);
  const healthy = () => becomeHealthy(emulator, ports, seconds, timeline);
  if (secrets) {
    await woken;
    await prove(emulator, ports, secrets, timeline);
    return await healthy();
  }
  await Promise.all([woken, healthy()]);
  if (profile.secrets && known !== "rotated") {
    report.warn(
      "secrets were NOT rotated: this instance runs with the image's placeholders, which everybody knows",
    );
  }
}

async function prove(
  emulator: Emulator,
  ports: Record<string, number>,
  secrets: Secrets,
  timeline: Timeline,
): Promise<void> {
  const { report, signal } = emulator;
  const onHold = (name: string) => report.detail(`proven: ${name}`);
  await timeline.phase(
    "proof",
    () => proveRotation(proofOf(emulator, ports), secrets, rotationMs(emulator), signal, onHold),
  );
}

/**
 * Sees to it that the proof of a rotation can fail: to be done with a guest that is healthy and has its placeholders.
 *
 * @throws {GuestFault} when it cannot.
 */
export async function checkProof(
  emulator: Emulator,
  { ports }: Pick<InstanceRecord, "ports">,
  timeline: Timeline,
): Promise<void> {
  const { profile, signal } = emulator;
  if (!profile.secrets) return;
  try {
    await timeline.phase("placeholders", () => proveChecks(proofOf(emulator, ports), rotationMs(emulator), signal));
  } catch (error) {
    signal.throwIfAborted();
    throw new GuestFault(`${messageOf(error)}: correct the profile '${profile.name}'`);
  }
}

/**
 * The first check that no longer holds of an instance with secrets of its own: a service has its placeholders back.
 *
 * @throws {HotbootError} when a service has not answered within `seconds`.
 */
export async function lostSecrets(
  emulator: Emulator,
  record: InstanceRecord,
  seconds: number,
): Promise<string | undefined> {
  if (record.secrets !== "rotated" || !emulator.profile.rotation) return undefined;
  const secrets = await readSecrets(emulator);
  return await brokenProof(proofOf(emulator, record.ports), secrets, seconds * 1000, emulator.signal);
}

/** Has the guest's services take the instance's own secrets once more. @throws {HotbootError} when they do not. */
export async function rotateAgain(emulator: Emulator, record: InstanceRecord): Promise<void> {
  const secrets = await readSecrets(emulator);
  await wakeAndProve(emulator, record, { secrets }, new Timeline(), emulator.profile.timeouts.resume);
}

function proofOf({ profile }: Emulator, ports: Record<string, number>): Proof {
  return { checks: profile.rotation!.proof, specs: profile.secrets!, ports };
}

function rotationMs({ profile }: Emulator): number {
  return (profile.rotation!.timeout ?? DEFAULT_TIMEOUT_S) * 1000;
}

/**
 * Keeps proven secrets where {@linkcode credentials} finds them, or the placeholders that are in their place, as long as the
 * instance lasts. One that has secrets of its own and got no new ones keeps those: its disk may know no others.
 */
export async function keepSecrets(emulator: Emulator, record: InstanceRecord, secrets?: Secrets): Promise<void> {
  if (!emulator.profile.secrets || (!secrets && record.secrets === "rotated")) return;
  record.secrets = secrets ? "rotated" : "placeholders";
  await writeSecrets(emulator, secrets ?? placeholdersOf(emulator.profile.secrets), secrets !== undefined);
}

/** The secrets that are in effect in an instance with this record: its own, or the image's; none where it has none. */
export async function secretsInEffect(
  emulator: Emulator,
  { secrets }: Pick<InstanceRecord, "secrets">,
): Promise<Secrets> {
  if (secrets === "rotated") return await readSecrets(emulator);
  return placeholdersOf(emulator.profile.secrets ?? []);
}

/**
 * The secrets of an instance that runs, or keeps its disk, by the names that the profile gives them.
 *
 * Needs read permission for the home and net permission for the instance's sockets.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @returns The secrets' values; they are valid until the instance is dropped.
 * @throws {HotbootError} when there is no such instance, or it has no secrets of its own.
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
  const secrets = await secretsKind(emulator);
  const { instance } = emulator;
  if (secrets === "rotated") return await readSecrets(emulator);
  throw new HotbootError(
    secrets === "placeholders"
      ? `instance '${instance}' was started without rotation and has the image's placeholders: stop and start it`
      : `instance '${instance}' has no secrets: its profile names none`,
  );
}

/** Whether an instance has secrets that hold. @throws {HotbootError} when there is none. */
async function secretsKind(emulator: Emulator): Promise<InstanceRecord["secrets"]> {
  await using state = await stateOf(emulator);
  requireOwn(emulator, state);
  switch (state.kind) {
    case "running":
    case "paused":
    case "stopping":
    case "suspended":
    case "shut down":
    case "crashed":
      return state.record.secrets;
    default:
      throw refusal(emulator, state);
  }
}
