/** The space that is left for what a guest writes. */

import { isDiskFull, messageOf } from "../base/error.ts";
import { formatBytes } from "../base/format.ts";
import type { Emulator } from "./emulator.ts";
import { trimSerialLog } from "./serial_log.ts";

/** Less than this is said, in bytes. */
export const LITTLE = 2 ** 30;
const LOOK_MS = 60_000;
/** Where it has been said. */
const said = new Set<string>();

/** What an error says, with what to do if the home's disk is full. */
export function withSpaceAdvice(error: unknown): string {
  return messageOf(error) + (isDiskFull(error) ? ": free some space on the disk of hotboot's home" : "");
}

/**
 * Warns, once, if the disk of the instances is nearly full: QEMU pauses the guest when it is. Never throws. Loading what knows
 * the free space takes 20 to 40 ms: call it where this program waits for others.
 */
export async function warnOfLittleSpace({ home, report }: Pick<Emulator, "home" | "report">): Promise<void> {
  if (said.has(home.instances)) return;
  try {
    const { freeSpace } = await import("../release/free_space.ts");
    const free = await freeSpace(home.instances);
    if (free >= LITTLE || said.has(home.instances)) return; // another call may have said it meanwhile
    said.add(home.instances);
    const [left, place] = [formatBytes(free), home.instances];
    report.warn(
      await isInMemory(home.instances)
        ? `only ${left} are free for ${place}, and a guest that needs more, also of its own memory, is ended: free some space`
        : `only ${left} are free for ${place}, and a guest that writes more is paused: free some space`,
    );
  } catch {
    // this program may not ask, or there is no such directory
  }
}

/**
 * Whether it is on a tmpfs. There a page of a guest's memory that its snapshot has not needs room in the snapshot's file, too,
 * and the kernel ends a QEMU for which there is none (SIGBUS). Source: statfs(2), "f_type"; Linux, mm/shmem.c.
 */
async function isInMemory(path: string): Promise<boolean> {
  const { statfs } = await import("node:fs/promises");
  return Deno.build.os === "linux" && (await statfs(path)).type === 0x01021994;
}

/** Watches what a running guest writes to the host's disk, now and every minute. */
export function watchDisk(emulator: Emulator): AsyncDisposable {
  const look = () => Promise.all([trimSerialLog(emulator), warnOfLittleSpace(emulator)]);
  let looking = look();
  const timer = setInterval(() => void (looking = looking.then(look)), LOOK_MS);
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await looking;
    },
  };
}
