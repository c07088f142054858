/** Disks of files, with a file system on each, and what is mounted. */

import { until } from "../e2e/pace.ts";
import { tool } from "../e2e/tool.ts";

/** A file system on a disk of its own. */
export interface DiskOptions {
  /** The disk's size. */
  mebibytes: number;
  /** The command line that makes the file system, without the disk. */
  make: string[];
  /** As `mount -o` takes them. */
  options?: string[];
}

/** Makes a disk and its file system, and mounts that. */
export async function mountDisk(disk: string, path: string, how: DiskOptions): Promise<AsyncDisposable> {
  await makeDisk(disk, how);
  await tool("mount", "-o", ["loop", ...how.options ?? []].join(), disk, path);
  return mounted(path);
}

/** Makes the disk only. */
export async function makeDisk(disk: string, { mebibytes, make }: Omit<DiskOptions, "options">): Promise<void> {
  await tool("truncate", "-s", `${mebibytes}M`, disk);
  const [program, ...args] = make;
  await tool(program, ...args, disk);
}

/** Unmounts what is mounted at a path, once nothing uses it any more: QEMU may still be ending. */
export function mounted(path: string, then: () => Promise<unknown> = () => Promise.resolve()): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      const unmount = () => tool("umount", path).then(() => true, () => false);
      await until(unmount, `the end of what uses ${path}`, 0.5);
      await then();
    },
  };
}
