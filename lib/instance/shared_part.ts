/** Which part of the host a profile's share gives to the guest. */

import { HotbootError } from "../base/error.ts";
import type { Share } from "../profile/profile.ts";

/** The kernel's own files, and those of programs that run: environments, memory, disks, sockets. No guest gets these. */
const CLOSED = ["/proc", "/sys", "/dev", "/run"];

/** Whether `path` is `directory`, or below it. Both are absolute. */
export function isWithin(path: string, directory: string): boolean {
  return `${path}/`.startsWith(directory.endsWith("/") ? directory : `${directory}/`);
}

/** The directory that QEMU serves. */
export function sharedPart({ path, part }: Share): string {
  return part ?? path;
}

/**
 * The share with its `part`. QEMU serves one file system only (see `shareArguments`): if the user's home is below the share and
 * in another file system, that one is worth more than the rest. Finds out what this program may: the launcher may read all.
 *
 * @throws {HotbootError} if it shares what no guest gets.
 */
export async function withPart(share: Share): Promise<Share> {
  const real = await realPath(share.path) ?? share.path;
  const isClosed = (path: string) => CLOSED.some((directory) => isWithin(path, directory));
  if (isClosed(real) || isClosed(share.path)) {
    throw new HotbootError(
      `the profile shares ${share.path}${real === share.path ? "" : `, which is ${real}`}: ` +
        `a guest gets nothing of ${CLOSED.join(", ")}; share another directory`,
    );
  }
  const { state } = await Deno.permissions.query({ name: "env", variable: "HOME" });
  const home = state === "granted" ? await realPath(Deno.env.get("HOME") ?? "") : undefined;
  if (home === undefined || real !== share.path || !isWithin(home, real) || isClosed(home)) return share;
  const device = async (path: string) => (await Deno.stat(path)).dev;
  const own = await device(home);
  if (own === await device(real)) return share;
  let part = home;
  for (let above = part; isWithin(above, real) && await device(above) === own; above = parentOf(above)) part = above;
  return { ...share, part };
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

/** Where a path leads, if it exists and this program may know. */
async function realPath(path: string): Promise<string | undefined> {
  if (path === "") return undefined;
  const { state } = await Deno.permissions.query({ name: "read", path });
  return state === "granted" ? await Deno.realPath(path).catch(() => undefined) : undefined;
}
