/** Every start's own secrets: made, put into the guest, proven there, and kept for the user. */

import { HotbootError } from "../error.ts";
import type { Profile } from "../profile/profile.ts";
import { proveRotation } from "../secrets/proof.ts";
import { generateSecrets, type Secrets } from "../secrets/secrets.ts";
import type { Emulator } from "./emulator.ts";
import { instancePath, type InstanceRecord, removeSecrets, requireRunning, writeSecrets } from "./instance.ts";
import { readKept } from "./kept.ts";
import type { Launched } from "./launch.ts";
import type { Timeline } from "./timeline.ts";
import { type Sleeper, wake } from "./wake.ts";

const DEFAULT_TIMEOUT_S = 30;

/** New secrets for a start, where the profile has any and the caller wants them. */
export function newSecrets({ secrets }: Profile, noRotation = false): Secrets | undefined {
  return secrets && !noRotation ? generateSecrets(secrets) : undefined;
}

/**
 * Wakes the guest with its secrets, and returns when the services have shown that those are in effect.
 *
 * @throws {HotbootError} when anything of it fails; the guest is of no use then.
 */
export async function wakeAndProve(
  emulator: Emulator,
  { channels, record }: Launched,
  sleeper: Sleeper,
  timeline: Timeline,
): Promise<void> {
  const { profile, report, signal } = emulator;
  const { secrets } = sleeper;
  await wake(emulator, channels.agent, sleeper, timeline);
  if (secrets) {
    const { proof, timeout = DEFAULT_TIMEOUT_S } = profile.rotation!;
    const onHold = (name: string) => report.detail(`proven: ${name}`);
    await timeline.phase(
      "proof",
      () => proveRotation(proof, profile.secrets!, secrets, record.ports, timeout * 1000, signal, onHold),
    );
  } else if (profile.secrets) {
    report.warn(
      "secrets were NOT rotated: this instance runs with the image's placeholders, which everybody knows",
    );
  }
}

/** Keeps proven secrets where {@linkcode credentials} finds them, for as long as the run lasts. */
export async function keepSecrets(emulator: Emulator, record: InstanceRecord, secrets?: Secrets): Promise<void> {
  if (!emulator.profile.secrets) return;
  record.secrets = secrets ? "rotated" : "placeholders";
  await (secrets ? writeSecrets(emulator, secrets) : removeSecrets(emulator));
}

/** The secrets that are in effect in an instance with this record: its own, or the image's; none where it has none. */
export async function secretsInEffect(
  emulator: Emulator,
  { secrets }: Pick<InstanceRecord, "secrets">,
): Promise<Secrets> {
  if (secrets === "rotated") return await ownSecrets(emulator);
  return Object.fromEntries((emulator.profile.secrets ?? []).map(({ name, placeholder }) => [name, placeholder]));
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
