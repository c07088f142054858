/**
 * A disk that remembers the order of what was written to it, so that it can be shown as a power cut would have left it: QEMU's
 * storage daemon serves a file as a device, and logs each write and each flush.
 *
 * Source of the log's format: Linux's documentation, "dm-log-writes"; QEMU's driver `blklogwrites` writes the same.
 */

import { assertEquals } from "@std/assert";
import { readAt } from "../../lib/base/io.ts";
import { until } from "../e2e/pace.ts";
import { tool } from "../e2e/tool.ts";

const SECTOR = 512;
const MAGIC = 0x6a736677736872n;
const [FLUSH, FUA, DISCARD] = [1, 2, 4];

/** One write, or a flush of all earlier ones. */
interface Entry {
  flags: number;
  /** Where on the disk, in bytes. */
  offset: number;
  length: number;
  /** Where its bytes are in the log. */
  at: number;
}

/** Programs that were killed may still be ending. */
async function unmount(path: string): Promise<void> {
  await until(() => tool("umount", path).then(() => true, () => false), `the end of what uses ${path}`, 0.5);
}

/** What it needs and this machine lacks, to complete "skipped, because …". */
export async function lackOfLoggedDisks(): Promise<string | undefined> {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return "only root may mount a file system, and only on Linux";
  const has = (path: string) => Deno.stat(path).then(() => true, () => false);
  for (const path of ["/usr/bin/qemu-storage-daemon", "/dev/fuse", "/dev/loop-control"]) {
    if (!await has(path)) return `there is no ${path}`;
  }
}

/** An ext4 file system on such a disk, mounted at `mount`. */
export class LoggedDisk implements AsyncDisposable {
  #daemon?: Deno.ChildProcess;
  #loop?: string;

  private constructor(readonly directory: string, readonly mount: string) {}

  static async make(directory: string, mebibytes: number): Promise<LoggedDisk> {
    const made = new LoggedDisk(directory, `${directory}/m`);
    const path = (name: string) => `${directory}/${name}`;
    await Deno.mkdir(made.mount);
    await Deno.writeFile(path("device"), new Uint8Array());
    await tool("truncate", "-s", `${mebibytes}M`, path("disk"), path("empty"));
    await tool("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", path("empty"));
    await tool("cp", "--sparse=always", path("empty"), path("disk"));
    await tool("truncate", "-s", `${mebibytes * 20}M`, path("log"));
    const file = (node: string, name: string) => `driver=file,node-name=${node},filename=${path(name)}`;
    made.#daemon = new Deno.Command("qemu-storage-daemon", {
      args: [
        ...["--blockdev", file("disk", "disk"), "--blockdev", file("log", "log")],
        ...["--blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log"],
        ...["--export", `type=fuse,id=export,node-name=logged,mountpoint=${path("device")},writable=on`],
      ],
      stdout: "null",
      stderr: "null", // a pipe of the caller would stay open with it
    }).spawn();
    await until(async () => (await Deno.stat(path("device"))).size > 0, "the storage daemon");
    made.#loop = await tool("losetup", "--find", "--show", path("device"));
    await tool("mount", made.#loop, made.mount);
    return made;
  }

  /** How many writes and flushes there were. */
  async count(): Promise<number> {
    return (await this.#entries()).length;
  }

  /** Unmounts it. The log stays. */
  async close(): Promise<void> {
    if (!this.#loop) return;
    await unmount(this.mount);
    await tool("losetup", "--detach", this.#loop);
    this.#loop = undefined;
    this.#daemon?.kill("SIGTERM");
    await this.#daemon?.status;
  }

  /**
   * Mounts the disk as it would be if the power had gone after so many writes: what was flushed is there, and of the later
   * writes some.
   */
  async mountCut(count: number, next: () => number): Promise<AsyncDisposable> {
    const path = `${this.directory}/cut`;
    await tool("cp", "--sparse=always", `${this.directory}/empty`, path);
    const entries = (await this.#entries()).slice(0, count);
    const flushed = entries.findLastIndex(({ flags }) => flags & FLUSH);
    {
      using log = await Deno.open(`${this.directory}/log`);
      using disk = await Deno.open(path, { write: true });
      for (const [index, { flags, offset, length, at }] of entries.entries()) {
        const isKept = index <= flushed || flags & FUA || next() < 0.5;
        if (!isKept || flags & DISCARD || length === 0) continue;
        const bytes = new Uint8Array(length);
        await readAt(log, at, bytes);
        await disk.seek(offset, Deno.SeekMode.Start);
        for (let done = 0; done < length;) done += await disk.write(bytes.subarray(done));
      }
    }
    const loop = await tool("losetup", "--find", "--show", path);
    await tool("mount", loop, this.mount);
    return {
      [Symbol.asyncDispose]: async () => {
        await unmount(this.mount);
        await tool("losetup", "--detach", loop);
      },
    };
  }

  async #entries(): Promise<Entry[]> {
    using log = await Deno.open(`${this.directory}/log`);
    const head = new DataView(new ArrayBuffer(SECTOR));
    await readAt(log, 0, new Uint8Array(head.buffer));
    assertEquals(head.getBigUint64(0, true), MAGIC);
    assertEquals(head.getUint32(24, true), SECTOR);
    const entries: Entry[] = [];
    // The number in the head is of the last flush; entries behind it are there already.
    for (let at = SECTOR;;) {
      await readAt(log, at, new Uint8Array(head.buffer));
      const [sector, sectors, flags, bytes] = [0, 8, 16, 24].map((place) => Number(head.getBigUint64(place, true)));
      if (sectors === 0 && flags === 0) return entries;
      const length = flags & DISCARD ? 0 : sectors * SECTOR;
      entries.push({ flags, offset: sector * SECTOR, length, at: at + SECTOR });
      at += SECTOR + length + bytes;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    await Deno.remove(this.directory, { recursive: true });
  }
}
