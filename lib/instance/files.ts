/** The files of a run, and what becomes of them when it has ended. */

import { exists } from "@std/fs/exists";
import { writeJson, writeWhole } from "../base/files.ts";
import type { Secrets } from "../profile/secrets.ts";
import { type Fingerprint, fingerprint, matches } from "../snapshot/fingerprint.ts";
import { channelsOf, instancePath } from "./channels.ts";
import type { Emulator } from "./emulator.ts";
import { removeDisks } from "./layers.ts";
import { hasRecord, removeRecord, type SavedMemory } from "./record.ts";

/** Removes what belongs to a run that has ended. The console's log stays, for whoever asks why. */
export async function clearRun(emulator: Emulator): Promise<void> {
  const { directory, monitor, agent, migration } = await channelsOf(emulator);
  const ofTheRun = [monitor, agent, migration, instancePath(emulator, "config"), instancePath(emulator, "timeline")];
  for (const path of ofTheRun) await Deno.remove(path).catch(() => {});
  if (directory !== emulator.home.instance(emulator.instance)) await Deno.remove(directory).catch(() => {});
}

/** The same, and what the instance has kept: its disk, its memory and its secrets. What no record speaks of stays. */
export async function dropInstance(emulator: Emulator): Promise<void> {
  if (!await hasRecord(emulator)) return;
  await clearRun(emulator);
  await removeSecrets(emulator);
  await dropMemory(emulator);
  await removeDisks(emulator);
  await removeRecord(emulator); // at last, so that nothing is left that nobody knows of
}

/** The fingerprints of those files, which are on the disk itself afterwards. */
export async function sealMemory(emulator: Emulator): Promise<SavedMemory> {
  const seal = async (path: string) => {
    using file = await Deno.open(path, { read: true, write: true });
    await file.sync();
    return await fingerprint(path);
  };
  const [memory, ram] = (["memory", "ram"] as const).map((file) => instancePath(emulator, file));
  return { state: await seal(memory), ...(await exists(ram) && { ram: await seal(ram) }) };
}

/** What is wrong with those files by now, or `undefined`. */
export async function wrongMemory(emulator: Emulator, { state, ram }: SavedMemory): Promise<string | undefined> {
  return await wrongFile(instancePath(emulator, "memory"), state) ??
    (ram && await wrongFile(instancePath(emulator, "ram"), ram));
}

async function wrongFile(path: string, sealed: Fingerprint): Promise<string | undefined> {
  const { size } = await Deno.stat(path).catch(() => ({ size: undefined }));
  if (size === undefined) return `${path} is missing`;
  if (size !== sealed.size) return `${path} has ${size} bytes instead of ${sealed.size}`;
  if (!await matches(path, sealed)) return `${path} has other content than was saved`;
}

/** Removes the memory that no longer belongs to the disk. A machine that has mapped its RAM keeps it. */
export async function dropMemory(emulator: Emulator): Promise<void> {
  for (const file of ["memory", "ram"] as const) await Deno.remove(instancePath(emulator, file)).catch(() => {});
}

/**
 * Keeps a run's secrets: all in one file, unless they are known to everybody, and those that have a file of their own in that,
 * too. What those files are is written down first, so that they end with the run whatever becomes of its profile.
 */
export async function writeSecrets(emulator: Emulator, secrets: Secrets, areOwn: boolean): Promise<void> {
  await removeSecrets(emulator); // of the run that this one goes on with
  const own = (emulator.profile.secrets ?? []).flatMap(({ name, file }) => file ? [{ name, file }] : []);
  if (own.length > 0) await writeJson(instancePath(emulator, "secretFiles"), own.map(({ file }) => file));
  const directory = emulator.home.instance(emulator.instance);
  for (const { name, file } of own) await writeWhole(`${directory}/${file}`, secrets[name]);
  if (areOwn) await writeJson(instancePath(emulator, "credentials"), secrets);
}

/** Removes what {@linkcode writeSecrets} has written. */
export async function removeSecrets(emulator: Emulator): Promise<void> {
  const list = instancePath(emulator, "secretFiles");
  const files: unknown = await Deno.readTextFile(list).then(JSON.parse).catch(() => []);
  const own = (Array.isArray(files) ? files : []).filter((file) => /^[\w-]+$/.test(file)); // nothing outside
  const paths = own.map((file) => `${emulator.home.instance(emulator.instance)}/${file}`);
  for (const path of [...paths, list, instancePath(emulator, "credentials")]) await Deno.remove(path).catch(() => {});
}

/** The instance's own secrets. */
export async function readSecrets(emulator: Emulator): Promise<Secrets> {
  return JSON.parse(await Deno.readTextFile(instancePath(emulator, "credentials")));
}
