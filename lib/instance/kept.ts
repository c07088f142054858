/** What a stopped instance keeps for its next start: its disk, and, when it was suspended, its memory too. */

import { HotbootError } from "../base/error.ts";
import { type Fingerprint, fingerprint, matches } from "../snapshot/fingerprint.ts";
import type { GuestState, Identity } from "../snapshot/manifest.ts";
import type { Emulator } from "./emulator.ts";
import { writeJson } from "./home.ts";
import { instancePath, type InstanceRecord } from "./instance.ts";

/** `kept.json`; as long as it is there, the instance's disk and secrets are not removed. */
export interface Kept {
  /**
   * Whether the memory belongs to the disk as it is. It does no longer from the moment that a resumed guest runs;
   * written down before that, so that no crash ever brings old memory together with a newer disk.
   */
  how: "suspended" | "shut down";
  /** The profile's name. */
  profile: string;
  /** The snapshot that the disk stands on. */
  snapshot?: string;
  /** As in the instance's record. */
  secrets?: InstanceRecord["secrets"];
  /** When it was stopped, ISO 8601. */
  stopped: string;
  /** What the disk depends on, and the memory too. */
  identity: Identity;
  /** Of a suspended one: the guest, and the file with its memory and devices. */
  memory?: { guest: GuestState; state: Fingerprint };
}

/** What the instance keeps, if it keeps anything. @throws {HotbootError} when that cannot be understood. */
export async function readKept(emulator: Emulator): Promise<Kept | undefined> {
  const path = instancePath(emulator, "kept");
  let kept: Kept;
  try {
    kept = JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    const { NotFound, NotADirectory } = Deno.errors;
    if ([NotFound, NotADirectory].some((kind) => error instanceof kind)) return undefined;
    if (!(error instanceof SyntaxError)) throw error;
    throw new HotbootError(`${path} is damaged: 'hotboot reset' drops what instance '${emulator.instance}' has kept`);
  }
  return kept;
}

/** Writes it in one step. */
export async function writeKept(emulator: Emulator, kept: Kept): Promise<void> {
  await writeJson(instancePath(emulator, "kept"), kept);
}

/** From now on the disk is newer than the memory. */
export async function forgetMemory(emulator: Emulator, { memory: _, ...kept }: Kept): Promise<void> {
  await writeKept(emulator, { ...kept, how: "shut down" });
}

/** Nothing is kept any more: the disk and the secrets are those of a run, and the memory is of no use. */
export async function forgetKept(emulator: Emulator): Promise<void> {
  for (const file of ["kept", "state"] as const) await Deno.remove(instancePath(emulator, file)).catch(() => {});
}

/** The fingerprint of the file that a suspended machine's state was saved to, which is on disk afterwards. */
export async function sealState(emulator: Emulator): Promise<Fingerprint> {
  const path = instancePath(emulator, "state");
  using file = await Deno.open(path, { read: true, write: true });
  await file.sync();
  return await fingerprint(path);
}

/** What is wrong with that file by now, or `undefined`. */
export async function wrongState(emulator: Emulator, sealed: Fingerprint): Promise<string | undefined> {
  const path = instancePath(emulator, "state");
  const { size } = await Deno.stat(path).catch(() => ({ size: undefined }));
  if (size === undefined) return `${path} is missing`;
  if (size !== sealed.size) return `${path} has ${size} bytes instead of ${sealed.size}`;
  if (!await matches(path, sealed)) return `${path} has other content than was saved`;
}
