/** File systems to put a home on, each mounted from a small disk of its own. */

import { smallDisk } from "../e2e/needs.ts";
import { HOTBOOT } from "../e2e/program.ts";
import { tool } from "../e2e/tool.ts";
import { makeDisk, mountDisk, mounted } from "./mounts.ts";
import { preload } from "./preload.ts";
import { SshServer } from "./ssh_server.ts";

/** Of a disk, in MiB: enough for a home with a snapshot, a session and a fork. */
const DISK_MIB = 1200;

/** A kind of file system. */
export interface FileSystem {
  /** What is special about it. */
  name: string;
  /** Why it cannot be a home, as a start says it; absent if it can. */
  refusal?: RegExp;
  /** The file system's own tool, which has to be there. */
  needs: string;
  /** Mounts it. @param directory A new one, for its disk and whatever else it needs. */
  mount(directory: string, path: string): Promise<AsyncDisposable>;
}

const onDisk = (make: string[], ...options: string[]) => (directory: string, path: string): Promise<AsyncDisposable> =>
  mountDisk(`${directory}/disk`, path, { mebibytes: DISK_MIB, make, options });

/** What a program serves (FUSE) from a disk. */
const served =
  (make: string[], serve: (disk: string, path: string) => string[]) =>
  async (directory: string, path: string): Promise<AsyncDisposable> => {
    await makeDisk(`${directory}/disk`, { mebibytes: DISK_MIB, make });
    const [program, ...args] = serve(`${directory}/disk`, path);
    await tool(program, ...args);
    return mounted(path);
  };

const exfat = (...options: string[]) => async (directory: string, path: string): Promise<AsyncDisposable> => {
  await makeDisk(`${directory}/disk`, { mebibytes: DISK_MIB, make: ["mkfs.exfat"] });
  const loop = await tool("losetup", "--find", "--show", `${directory}/disk`);
  await tool("mount.exfat-fuse", ...options, loop, path);
  return mounted(path, () => tool("losetup", "--detach", loop));
};

export const FILE_SYSTEMS: FileSystem[] = [
  {
    name: "ext4 with blocks of 1 KiB",
    needs: "mkfs.ext4",
    mount: onDisk(["mkfs.ext4", "-q", "-b", "1024"], "noatime"),
  },
  {
    name: "ext4 that runs no programs (noexec, nosuid, nodev)",
    needs: "mkfs.ext4",
    mount: onDisk(["mkfs.ext4", "-q"], "noexec", "nosuid", "nodev"),
  },
  {
    name: "ext4 by a program, which shows no holes (fuse2fs)",
    needs: "fuse2fs",
    mount: served(["mkfs.ext4", "-q"], (disk, path) => ["fuse2fs", "-o", "rw,fakeroot", disk, path]),
  },
  {
    name: "exFAT, without sockets, links and modes",
    needs: "mount.exfat-fuse",
    refusal: /is open to other users, and its file system ignores that hotboot closes it/,
    mount: exfat(),
  },
  {
    name: "exFAT closed by its mount, without sockets and links",
    needs: "mount.exfat-fuse",
    refusal: /the file system of \S+ has no sockets/,
    mount: exfat("-o", "umask=077"),
  },
  {
    name: "NTFS, without modes (ntfs-3g)",
    needs: "ntfs-3g",
    refusal: /is open to other users, and its file system ignores that hotboot closes it/,
    mount: served(["mkfs.ntfs", "-q", "-F", "-f"], (disk, path) => ["ntfs-3g", disk, path]),
  },
  {
    name: "a directory of another machine (sshfs)",
    needs: "sshfs",
    refusal: /the file system of \S+ has no sockets/,
    async mount(directory, path) {
      const server = await SshServer.start(directory);
      await Deno.mkdir(`${directory}/remote`);
      await server.mount(`${directory}/remote`, path);
      return mounted(path, () => server[Symbol.asyncDispose]());
    },
  },
  {
    name: "a file system without locks (a library says so, as NFS without its lock manager does)",
    needs: "cc",
    refusal: /the file system of hotboot's home does not support file locks/,
    async mount(directory, path) {
      const prefix = [...await preload("no_locks.c", directory), `HOTBOOT_TEST_NO_LOCKS=${path}`];
      HOTBOOT.unshift(...prefix);
      return { [Symbol.asyncDispose]: () => Promise.resolve(void HOTBOOT.splice(0, prefix.length)) };
    },
  },
  {
    name: "XFS with shared blocks",
    needs: "mkfs.xfs",
    mount: onDisk(["mkfs.xfs", "-q", "-m", "reflink=1"], "noatime"),
  },
  {
    name: "Btrfs, compressed",
    needs: "mkfs.btrfs",
    mount: onDisk(["mkfs.btrfs", "-q"], "compress-force=zstd"),
  },
  {
    name: "a directory of a container (overlay)",
    needs: "mount",
    async mount(directory, path) {
      const disk = await smallDisk(`${directory}/layers`, DISK_MIB);
      const of = (name: string) => `${directory}/layers/${name}`;
      for (const name of ["lower", "upper", "work"]) await Deno.mkdir(of(name));
      const options = `lowerdir=${of("lower")},upperdir=${of("upper")},workdir=${of("work")}`;
      await tool("mount", "-t", "overlay", "-o", options, "overlay", path);
      return mounted(path, async () => await disk[Symbol.asyncDispose]());
    },
  },
  {
    name: "a directory shown at another place (bindfs)",
    needs: "bindfs",
    async mount(directory, path) {
      await Deno.mkdir(`${directory}/real`);
      await tool("bindfs", `${directory}/real`, path);
      return mounted(path);
    },
  },
];
