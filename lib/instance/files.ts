/** The files of a run, and how they are removed when it has ended. */

import { exists } from "@std/fs/exists";
import { HotbootError } from "../base/error.ts";
import { syncFile, writeJson, writeWhole } from "../base/files.ts";
import type { Secrets } from "../profile/secrets.ts";
import { type Fingerprint, fingerprint, matches } from "../snapshot/fingerprint.ts";
import { portSockets } from "../vm/ports.ts";
import { channelsOf, instancePath } from "./channels.ts";
import type { Emulator } from "./emulator.ts";
import { removeDisks, settleDisk } from "./layers.ts";
import { hasRecord, removeRecord, type SavedMemory } from "./record.ts";

/** Tidies up after a run that has ended: removes its files, but for the console log, which explains the end. */
export async function clearRun(emulator: Emulator): Promise<void> {
  const { directory, monitor, agent, launcher, migration } = await channelsOf(emulator);
  const sockets = [monitor, agent, launcher, migration, ...portSockets(directory)];
  for (const path of [...sockets, instancePath(emulator, "config")]) await Deno.remove(path).catch(() => {});
  const isShort = directory !== emulator.home.instance(emulator.instance);
  const short = isShort ? await Deno.lstat(directory).catch(() => undefined) : undefined;
  if (short?.isDirectory) await Deno.remove(directory).catch(() => {}); // a link serves the next run, too
  await settleDisk(emulator);
}

/** Also removes the instance's disk, memory and secrets. Files that no record mentions stay. */
export async function dropInstance(emulator: Emulator): Promise<void> {
  if (!await hasRecord(emulator)) return;
  await dropContent(emulator);
  const { directory } = await channelsOf(emulator);
  if (directory !== emulator.home.instance(emulator.instance)) await Deno.remove(directory).catch(() => {});
  await removeRecord(emulator); // last, so that no unrecorded file is left
}

/** The same without the record, which still says what the instance was started from. */
export async function dropContent(emulator: Emulator): Promise<void> {
  await clearRun(emulator);
  await removeSecrets(emulator);
  await dropMemory(emulator);
  await removeDisks(emulator);
}

/** The fingerprints of the memory files; flushes the files to disk. */
export async function sealMemory(emulator: Emulator): Promise<SavedMemory> {
  const seal = async (path: string) => {
    await syncFile(path);
    return await fingerprint(path);
  };
  const [memory, ram] = (["memory", "ram"] as const).map((file) => instancePath(emulator, file));
  return { state: await seal(memory), ...(await exists(ram) && { ram: await seal(ram) }) };
}

/** What is wrong with the memory files now, or `undefined`. */
export async function wrongMemory(emulator: Emulator, { state, ram }: SavedMemory): Promise<string | undefined> {
  return await wrongFile(instancePath(emulator, "memory"), state) ??
    (ram && await wrongFile(instancePath(emulator, "ram"), ram));
}

async function wrongFile(path: string, sealed: Fingerprint): Promise<string | undefined> {
  const { size } = await Deno.stat(path).catch(() => ({ size: undefined }));
  if (size === undefined) return `${path} is missing`;
  if (size !== sealed.size) return `${path} has ${size} bytes instead of ${sealed.size}`;
  if (!await matches(path, sealed)) return `${path} differs from what was saved`;
}

/** Removes memory that no longer belongs to the disk. A machine that has mapped its RAM keeps the mapping. */
export async function dropMemory(emulator: Emulator): Promise<void> {
  for (const file of ["memory", "ram"] as const) await Deno.remove(instancePath(emulator, file)).catch(() => {});
}

/**
 * Stores a run's secrets in one file, unless they are public, and those that have a file of their own there as well. First
 * records the names of these files, so that they are removed with the run even if its profile changes.
 */
export async function writeSecrets(emulator: Emulator, secrets: Secrets, areOwn: boolean): Promise<void> {
  await removeSecrets(emulator); // of the run that this one continues
  const own = (emulator.profile.secrets ?? []).flatMap(({ name, file }) => file ? [{ name, file }] : []);
  if (own.length > 0) {
    await writeJson(instancePath(emulator, "secretFiles"), own.map(({ file }) => file), { flush: true });
  }
  const directory = emulator.home.instance(emulator.instance);
  for (const { name, file } of own) await writeWhole(`${directory}/${file}`, secrets[name], { flush: true });
  if (areOwn) await writeJson(instancePath(emulator, "credentials"), secrets, { flush: true });
}

/** Removes the files of {@linkcode writeSecrets}. */
export async function removeSecrets(emulator: Emulator): Promise<void> {
  const list = instancePath(emulator, "secretFiles");
  const files: unknown = await Deno.readTextFile(list).then(JSON.parse).catch(() => []);
  const own = (Array.isArray(files) ? files : []).filter((file) => /^[\w-]+$/.test(file)); // nothing outside the directory
  const paths = own.map((file) => `${emulator.home.instance(emulator.instance)}/${file}`);
  for (const path of [...paths, list, instancePath(emulator, "credentials")]) await Deno.remove(path).catch(() => {});
}

/** The instance's own secrets. @throws {HotbootError} if somebody has removed or changed their file. */
export async function readSecrets(emulator: Emulator): Promise<Secrets> {
  const path = instancePath(emulator, "credentials");
  const text = await Deno.readTextFile(path).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  });
  try {
    return JSON.parse(text);
  } catch {
    throw new HotbootError(
      `the secrets of instance '${emulator.instance}' are lost (${path} is ${text ? "not JSON" : "missing"}): ` +
        "'hotboot reset' drops it with its disk, and the next start makes new ones",
    );
  }
}
