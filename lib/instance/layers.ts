/**
 * Disks that are shared: what an instance has written until it is saved becomes a layer, which nobody writes any more, and the
 * instance goes on in an overlay on top of it, as does whatever is started from there.
 *
 *     images/demo.qcow2 ◀── snapshots/…/disk.qcow2 ◀── .layer-A ◀── .layer-B ◀── the instance's disk
 *                                                          ▲            ▲
 *                                                     a checkpoint's   another's
 *
 * A layer lies as deep as an instance, so that the path of what is below it means the same as before.
 */

import { exists } from "@std/fs/exists";
import { resolve } from "@std/path/resolve";
import { entriesIn } from "../base/entries.ts";
import { linkOrCopy, syncFile, writeWhole } from "../base/files.ts";
import { sha256 } from "../base/hash.ts";
import { fingerprint, matches } from "../snapshot/fingerprint.ts";
import { createOverlay, type Qcow2Header, readQcow2Header, setBackingFile } from "../vm/qcow2.ts";
import { isEmptyOverlay } from "../vm/qcow2_tables.ts";
import { instancePath } from "./channels.ts";
import type { Emulator } from "./emulator.ts";
import { backingPath, type Home, LAYER_PREFIX, privateDirectory } from "./home.ts";
import { lockLayers } from "./locks.ts";

/** The disk of a layer. */
export function layerDisk(home: Home, name: string): string {
  return `${home.layer(name)}/disk.qcow2`;
}

/** A file beside the disk of a layer into which others were merged: its name no longer says what is in it. */
const MERGED = "merged";

/** The name of the layer that has the disk; `undefined` if none has. */
export function layerName(disk: string): string | undefined {
  return disk.match(/\/\.layer-([0-9a-f-]{36})\/disk\.qcow2$/)?.[1];
}

/** The disks of a run in which the instance was saved: QEMU knows each by its path, which therefore stays what it is. */
const LATER_DISK = /^disk\.(\d+)\.qcow2$/;

/**
 * Makes a layer of the instance's disk as it is, with an empty overlay on top of it. QEMU, if one runs, writes to the layer
 * until it is told of the overlay. Nothing is lost at any moment: {@linkcode settleDisk} finds the disk that holds all.
 *
 * @returns The layer's name, and the overlay's path.
 */
export async function pushLayer(emulator: Emulator): Promise<{ layer: string; overlay: string }> {
  const { home } = emulator;
  using _lock = await lockLayers(emulator);
  const numbers = await laterDisks(emulator);
  const disk = numbers.length > 0 ? laterPath(emulator, numbers.at(-1)!) : instancePath(emulator, "disk");
  const { virtualSize } = await readQcow2Header(disk);
  const layer = crypto.randomUUID();
  await Deno.mkdir(home.layer(layer), { mode: 0o700 });
  await Deno.link(disk, layerDisk(home, layer));
  const overlay = laterPath(emulator, (numbers.at(-1) ?? 0) + 1);
  const made = `${overlay}.tmp`; // whole and on the disk itself before it counts
  await createOverlay(made, `../${LAYER_PREFIX}${layer}/disk.qcow2`, virtualSize);
  await syncFile(made);
  await Deno.rename(made, overlay);
  return { layer, overlay };
}

/**
 * The layer with all that an instance without QEMU has written: the one below its disk if it has written nothing since, so that
 * layers do not pile up; else a new one.
 */
export async function layerAtRest(emulator: Emulator): Promise<string> {
  const isSettled = (await laterDisks(emulator)).length === 0;
  if (isSettled && await isEmptyOverlay(instancePath(emulator, "disk"))) {
    const [below] = await disksUnderInstance(emulator);
    const name = below && layerName(below);
    if (name) return name;
  }
  const { layer } = await pushLayer(emulator);
  await settleDisk(emulator);
  return layer;
}

/** Once QEMU has ended: the last of the disks of its run is the instance's. What is below it is in layers. */
export async function settleDisk(emulator: Emulator): Promise<void> {
  if ((await laterDisks(emulator)).length === 0) return;
  using _lock = await lockLayers(emulator);
  const paths = (await laterDisks(emulator)).map((number) => laterPath(emulator, number));
  const last = paths.pop();
  if (last === undefined) return;
  for (const path of paths) await Deno.remove(path); // before the last one has another name
  await Deno.rename(last, instancePath(emulator, "disk"));
}

/** Removes all of them. */
export async function removeDisks(emulator: Emulator): Promise<void> {
  const later = (await laterDisks(emulator)).map((number) => laterPath(emulator, number));
  for (const path of [instancePath(emulator, "disk"), ...later]) await Deno.remove(path).catch(() => {});
}

function laterPath({ home, instance }: Emulator, number: number): string {
  return `${home.instance(instance)}/disk.${number}.qcow2`;
}

async function laterDisks({ home, instance }: Emulator): Promise<number[]> {
  const names = (await entriesIn(home.instance(instance))).map(({ name }) => name);
  return names.flatMap((name) => name.match(LATER_DISK)?.[1] ?? []).map(Number).sort((a, b) => a - b);
}

/**
 * Puts disks from elsewhere in place as layers, one on top of the other. The same one on the same disk is there only once.
 *
 * @param top The overlay that goes on top of them; it is in place already, or in a checkpoint that is being made.
 * @param disks The nearest first, each with what tells it from any other.
 * @param below What the last of them goes on top of: an image, or a disk that is in place.
 * @returns The name of the layer below `top`; `undefined` if there are no disks.
 */
export async function adoptLayers(
  emulator: Emulator,
  top: string,
  disks: { path: string; digest: string }[],
  below: string,
): Promise<string | undefined> {
  const { home } = emulator;
  using _lock = await lockLayers(emulator); // until the topmost refers to them, nothing does
  await privateDirectory(home.instances);
  let nearest: string | undefined;
  for (const { path, digest } of disks.toReversed()) {
    nearest = await adoptLayer(home, path, digest, below);
    below = layerDisk(home, nearest);
  }
  await setBackingFile(top, await backingPath(home, top.replace(/\/[^/]+$/, ""), below));
  return nearest;
}

async function adoptLayer(home: Home, path: string, digest: string, below: string): Promise<string> {
  const backing = below.startsWith(`${home.instances}/`)
    ? `..${below.slice(home.instances.length)}`
    : await backingPath(home, home.instances, below).then((path) => path.startsWith("/") ? path : `../${path}`);
  await setBackingFile(path, backing);
  const [, ...parts] = (await sha256(`${digest} on ${backing}`)).match(/^(.{8})(.{4})(.{3})(.{4})(.{12})/)!;
  let name = parts.toSpliced(2, 1, `8${parts[2]}`).join("-"); // a UUID of one's own making (RFC 9562, version 8)
  if (await exists(`${home.layer(name)}/${MERGED}`)) name = crypto.randomUUID(); // it has more in it by now
  else if (await exists(layerDisk(home, name))) {
    const { size } = await Deno.stat(layerDisk(home, name));
    const wanted = await fingerprint(path);
    if (size === wanted.size && await matches(layerDisk(home, name), wanted)) return name;
    name = crypto.randomUUID(); // that one is damaged, and others are on top of it
  }
  await Deno.mkdir(home.layer(name), { recursive: true, mode: 0o700 });
  const made = `${layerDisk(home, name)}.tmp`;
  await Deno.remove(made).catch(() => {});
  await linkOrCopy(path, made);
  await syncFile(made);
  await Deno.rename(made, layerDisk(home, name));
  return name;
}

/** Removes the layers that no disk of an instance, a checkpoint or a spare is on top of. */
export async function removeUnusedLayers(emulator: Emulator): Promise<void> {
  const { home } = emulator;
  const all = await layerNames(home);
  if (all.length === 0) return;
  using _lock = await lockLayers(emulator);
  const used = await layersUnder(await disksOnTop(home));
  if (!used) return;
  for (const name of all.filter((name) => !used.has(name))) await Deno.remove(home.layer(name), { recursive: true });
}

/**
 * The names of the layers right below the instance's disk that nothing else is on top of, the nearest first.
 *
 * @returns Also how many disks there are below the instance's.
 */
export async function ownLayers(emulator: Emulator): Promise<{ own: string[]; depth: number }> {
  const { home, instance } = emulator;
  const below = (await disksUnderInstance(emulator)).map(layerName);
  const none = { own: [], depth: below.length };
  if (!below[0] || !below[1]) return none; // so there is nothing to merge
  using _lock = await lockLayers(emulator);
  const others = (await disksOnTop(home)).filter((path) => !path.startsWith(`${home.instance(instance)}/`));
  const shared = await layersUnder(others);
  if (!shared) return none;
  const end = below.findIndex((name) => name === undefined || shared.has(name));
  return { ...none, own: below.slice(0, end === -1 ? undefined : end) as string[] };
}

/** To be called before others are merged into the layer. */
export async function markMerged(home: Home, name: string): Promise<void> {
  await writeWhole(`${home.layer(name)}/${MERGED}`, "", { flush: true });
}

/**
 * Once QEMU has written these layers into another that was below them, and that into the header of the instance's disk:
 * removes them.
 */
export async function dropMerged(emulator: Emulator, names: string[]): Promise<void> {
  const { home, instance } = emulator;
  const numbers = await laterDisks(emulator);
  const last = numbers.at(-1);
  await syncFile(last === undefined ? instancePath(emulator, "disk") : laterPath(emulator, last)); // before they are gone
  const inodes = await Promise.all(names.map(async (name) => (await Deno.stat(layerDisk(home, name))).ino));
  for (const path of await disksBelow(home.instance(instance), 0)) { // their other names
    if (inodes.includes((await Deno.stat(path)).ino)) await Deno.remove(path);
  }
  await removeUnusedLayers(emulator);
}

/** All disks that are on top of layers, and are none. */
async function disksOnTop(home: Home): Promise<string[]> {
  const saved = ["checkpoints", "spares"].map((name) => disksBelow(`${home.root}/${name}`, 2));
  return [...await disksBelow(home.instances, 1), ...(await Promise.all(saved)).flat()];
}

/** The names of all layers below these disks; `undefined` if nobody knows what one of them is on top of. */
async function layersUnder(disks: string[]): Promise<Set<string> | undefined> {
  const found = new Set<string>();
  for (const top of disks) {
    const below = await disksUnder(top);
    if (!below) return undefined;
    for (const name of below.map(layerName)) if (name) found.add(name);
  }
  return found;
}

/** The disks that the instance's is on top of, the nearest first, as far as they can be told. */
export async function disksUnderInstance(emulator: Emulator): Promise<string[]> {
  const last = (await laterDisks(emulator)).at(-1);
  return await disksUnder(last === undefined ? instancePath(emulator, "disk") : laterPath(emulator, last)) ?? [];
}

/** The disks that one is on top of, the nearest first; none of one that is not there; `undefined` if one cannot be read. */
export async function disksUnder(top: string): Promise<string[] | undefined> {
  const found: string[] = [];
  for (let disk: string | undefined = top; disk !== undefined && await exists(disk);) {
    const header: Qcow2Header | undefined = await readQcow2Header(disk).catch(() => undefined);
    if (!header) return undefined;
    disk = header.backingFile && resolve(disk, "..", header.backingFile);
    if (disk && (disk === top || found.includes(disk))) return undefined; // a circle: of a damaged or hostile disk
    if (disk) found.push(disk);
  }
  return found;
}

async function layerNames(home: Home): Promise<string[]> {
  const names = (await entriesIn(home.instances)).map(({ name }) => name);
  return names.filter((name) => name.startsWith(LAYER_PREFIX)).map((name) => name.slice(LAYER_PREFIX.length));
}

/** The disks in the directories so many levels below that are no layers. */
async function disksBelow(path: string, levels: number): Promise<string[]> {
  const entries = await entriesIn(path);
  if (levels === 0) return entries.filter(({ name }) => name.endsWith(".qcow2")).map(({ name }) => `${path}/${name}`);
  const below = entries.filter(({ isFile, name }) => !isFile && !name.startsWith(LAYER_PREFIX));
  return (await Promise.all(below.map(({ name }) => disksBelow(`${path}/${name}`, levels - 1)))).flat();
}
