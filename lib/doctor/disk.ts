/** Whether the disks have room for what a start, a snapshot and a suspended session write. */

import { formatBytes } from "../base/format.ts";
import type { Emulator } from "../instance/emulator.ts";
import { LITTLE } from "../instance/space.ts";
import type { Finding } from "./finding.ts";

/** What may be written to a disk at most. */
export interface Need {
  /** What, for people. */
  what: string;
  /** How much, in bytes. */
  bytes: number;
  /** A start fails without it. */
  isForStart?: boolean;
}

/** A disk, and what it has to take. */
export interface DiskFacts {
  /** A directory on it. */
  place: string;
  /** How much a user may write to it, and how much of that must stay free, in bytes. */
  free: number;
  spare: number;
  needs: Need[];
}

/** What is not there yet. */
export interface Missing {
  /** The size of what is to be downloaded, in bytes; 0 if that is unknown. */
  imageBytes: number;
  /** There is no snapshot that could be resumed. */
  snapshot: boolean;
}

/** Looks at each disk that the home is on. Needs sys permission for `statfs`. */
export async function examineDisks({ home, profile }: Emulator, missing: Missing): Promise<Finding[]> {
  const { freeSpace, SPARE: spare } = await import("../release/free_space.ts");
  const memory = profile.machine.memory * 2 ** 20;
  const session = { what: "a suspended session", bytes: memory };
  const needs = new Map<string, Need[]>([[home.root, []], [home.instances, [session]], [home.images, []]]);
  if (missing.snapshot) needs.get(home.root)!.push({ what: "a snapshot", bytes: memory });
  if (missing.imageBytes > 0) {
    needs.get(home.images)!.push({ what: "the image", bytes: missing.imageBytes, isForStart: true });
  }
  const disks = new Map<number, DiskFacts>();
  for (const [path, list] of needs) {
    const place = await there(path) ?? home.root;
    const { dev } = await Deno.stat(place);
    const disk = disks.get(dev) ?? { place, free: await freeSpace(place), spare, needs: [] };
    disk.needs.push(...list);
    disks.set(dev, disk);
  }
  return [...disks.values()].map(judgeDisk);
}

async function there(path: string): Promise<string | undefined> {
  return await Deno.stat(path).then(() => path, () => undefined);
}

/** What they say. */
export function judgeDisk({ place, free, spare, needs }: DiskFacts): Finding {
  const here = { id: `disk.${place}`, title: "disk" };
  const sum = (list: Need[]) => list.reduce((bytes, need) => bytes + need.bytes, 0);
  const named = needs.map(({ what, bytes }) => `${what} (at most ${formatBytes(bytes)})`).join(" and ");
  const has = `${formatBytes(free)} free for ${place}`;
  const wants = needs.length === 0 ? "" : `, for ${named}`;
  const fix = "free some space, or use another --home";
  const forStart = sum(needs.filter(({ isForStart }) => isForStart));
  if (free < spare + forStart) {
    return { ...here, mark: "fail", reason: `only ${has}${forStart > 0 ? wants : ""}`, fix };
  }
  if (free < sum(needs)) return { ...here, mark: "warn", reason: `only ${has}${wants}`, fix };
  if (free < LITTLE) return { ...here, mark: "warn", reason: `only ${has}; a guest that writes more is paused`, fix };
  return { ...here, mark: "ok", reason: has + wants };
}
