/** Checks for free space before it is needed. */

import { statfs } from "node:fs/promises";
import { HostError } from "../base/error.ts";
import { formatBytes } from "../base/format.ts";

/** Space to leave free for others, in bytes. */
export const SPARE = 16 * 1024 * 1024;

/** How many bytes this user may still write to the disk of a directory. */
export async function freeSpace(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

/**
 * @param directory Any directory on the disk.
 * @param bytes How many more are needed there.
 * @param what What needs them, as the start of the error.
 * @throws {HostError} if there is not enough space.
 */
export async function requireFreeSpace(directory: string, bytes: number, what: string): Promise<void> {
  const free = await freeSpace(directory);
  if (bytes + SPARE <= free) return;
  throw new HostError(
    `${what} needs ${formatBytes(bytes)} of disk, and ${
      formatBytes(SPARE)
    } must stay free, but ${directory} has only ` +
      formatBytes(free),
    "free some space",
  );
}
