/** Room on a disk, looked at before it is needed. */

import { statfs } from "node:fs/promises";
import { HotbootError } from "../base/error.ts";
import { formatBytes } from "../base/format.ts";

/** What must stay free for others. */
const SPARE = 16 * 1024 * 1024;

/**
 * @param directory Any directory of the disk.
 * @param bytes How many more are needed there.
 * @param what What for, as the start of the error.
 * @throws {HotbootError} when there is no room for them.
 */
export async function requireFreeSpace(directory: string, bytes: number, what: string): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const free = bavail * bsize;
  if (bytes + SPARE <= free) return;
  throw new HotbootError(
    `${what} needs ${formatBytes(bytes)} of disk, and where ${directory} is there are ${formatBytes(free)}: make room`,
  );
}
