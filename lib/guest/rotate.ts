/** Each start's own secrets: creates them, puts them into the guest, proves them there, and keeps them for the user. */

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

/** New secrets for a start, if the profile has any and the caller wants them. */
export function newSecrets({ secrets }: Profile, noRotation = false): Secrets | undefined {
  return secrets && !noRotation ? generateSecrets(secrets) : undefined;
}

/**
 * Wakes the guest with its secrets. Returns when the services have shown that these are in effect and that they are
 * healthy. Proves the secrets first: a service that the rotation is about to end still answers, and so looks healthy.
 *
 * @param seconds The limit for the health checks.
 * @throws {HotbootError} if any of this fails; the guest is unusable then.
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
      "secrets were NOT rotated: this instance runs with the image's placeholders, which are public; leave out --no-rotation",
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
 * Checks that the proof of a rotation can fail. Call it when the guest is healthy and has its placeholders.
 *
 * @throws {GuestFault} if the proof cannot fail.
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
 * The first check that no longer passes for an instance with its own secrets: a service has its placeholders back.
 *
 * @throws {HotbootError} if a service does not answer within `seconds`.
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

/** Makes the guest's services take the instance's own secrets again. @throws {HotbootError} if they do not. */
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
 * Stores proven secrets, or the placeholders used instead, where {@linkcode credentials} finds them, until the instance is
 * dropped. An instance with its own secrets that got no new ones keeps its own: its disk may know no others.
 */
export async function keepSecrets(emulator: Emulator, record: InstanceRecord, secrets?: Secrets): Promise<void> {
  if (!emulator.profile.secrets || (!secrets && record.secrets === "rotated")) return;
  record.secrets = secrets ? "rotated" : "placeholders";
  await writeSecrets(emulator, secrets ?? placeholdersOf(emulator.profile.secrets), secrets !== undefined);
}

/** The secrets in effect in an instance with this record: its own, or the image's; empty if it has none. */
export async function secretsInEffect(
  emulator: Emulator,
  { secrets }: Pick<InstanceRecord, "secrets">,
): Promise<Secrets> {
  if (secrets === "rotated") return await readSecrets(emulator);
  return placeholdersOf(emulator.profile.secrets ?? []);
}

/**
 * The secrets of an instance that runs or has a disk, by their names in the profile.
 *
 * Needs read permission for the home and net permission for the instance's sockets.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @returns The secrets' values; they are valid until the instance is dropped.
 * @throws {HotbootError} if there is no such instance, or it has no secrets of its own.
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
  if (secrets === "rotated") {
    try {
      return await readSecrets(emulator);
    } catch {
      await secretsKind(emulator); // it may have been dropped in between: then this says so
      return await readSecrets(emulator); // or it has others since
    }
  }
  throw new HotbootError(
    secrets === "placeholders"
      ? `instance '${instance}' was started without rotation and has the image's placeholders: stop and start it`
      : `instance '${instance}' has no secrets: its profile defines none`,
  );
}

/** Which secrets an instance has. @throws {HotbootError} if there is no instance. */
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
