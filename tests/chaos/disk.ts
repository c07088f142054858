/** A disk that is full, read-only or taken away, while each verb is at work. */

import { assert, assertEquals } from "@std/assert";
import { walk } from "@std/fs/walk";
import type { GuestHome } from "../e2e/guest_home.ts";
import type { Run } from "../e2e/program.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { lackOfSmallDisks } from "../e2e/needs.ts";
import { until } from "../e2e/pace.ts";
import { tool } from "../e2e/tool.ts";
import { mountDisk } from "./mounts.ts";
import { random } from "../unit/random.ts";
import { agreedStates, assertAllKnown, assertSnapshots, repaired, startNext } from "./invariants.ts";
import { lastMessage, type Order, Skipped, type Subject } from "./subject.ts";

const MIB = 2 ** 20;
/** The disk's size: what the home has at its largest, and then some. */
const DISK_MIB = 1800;
const [KEPT, SAVED] = ["kept", "saved"];
const MARK = (mark: string) => `echo ${mark} >/run/mark; echo ${mark} >/data/mark; sync`;

/** The verbs that write: where each begins, and about how much it needs. */
const WRITERS: Record<string, { from: "running" | "suspended" | "stopped"; line: string[]; needs: number }> = {
  capture: { from: "stopped", line: ["capture", "--force"], needs: 140 * MIB },
  start: { from: "suspended", line: ["start"], needs: 2 * MIB },
  rotate: { from: "stopped", line: ["start", "--no-fallback"], needs: 2 * MIB },
  stop: { from: "running", line: ["stop"], needs: 100 * MIB },
  save: { from: "running", line: ["snapshot save", "new"], needs: 100 * MIB },
  fork: { from: "running", line: ["fork", "new"], needs: 100 * MIB },
  export: { from: "running", line: ["snapshot export", SAVED, "OUT"], needs: 24 * MIB },
  import: { from: "running", line: ["snapshot import", "ARCHIVE"], needs: 110 * MIB },
};

/** What takes a file or a directory away. Root needs the immutable flag; it may write in spite of any mode. */
const TAKEN: Record<string, { take: string[]; give: string[] }> = {
  "may not be changed (chattr +i)": { take: ["chattr", "+i"], give: ["chattr", "-i"] },
  "belongs to another user": { take: ["chown", "-h", "65534:65534"], give: ["chown", "-h", "0:0"] },
};

/** A small disk with a file system like a user's. On a tmpfs, a guest's own memory would need room as well. */
class SmallDisk implements AsyncDisposable {
  /** @param path Where it is mounted, or what of it the home is in. */
  constructor(readonly mount: string, readonly mounted: AsyncDisposable, readonly path = mount) {}

  static async ext4(path: string): Promise<SmallDisk> {
    // Nothing is kept back for root.
    return new SmallDisk(path, await SmallDisk.#mount(path, "mke2fs", "-q", "-t", "ext4", "-m", "0"));
  }

  static async #mount(path: string, ...make: string[]): Promise<AsyncDisposable> {
    await Deno.mkdir(path);
    return await mountDisk(`${path}.disk`, path, { mebibytes: DISK_MIB, make });
  }

  /** One with a quota, which is more than is needed for now. */
  static async btrfs(path: string): Promise<SmallDisk> {
    const mounted = await SmallDisk.#mount(path, "mkfs.btrfs", "-q");
    await tool("btrfs", "quota", "enable", path);
    await tool("btrfs", "subvolume", "create", `${path}/user`);
    return new QuotaDisk(path, mounted, `${path}/user`);
  }

  get ballast(): string {
    return `${this.path}/ballast`;
  }

  /** Leaves only so many bytes, and a few for the file system's own list of the blocks that are taken. */
  async fill(free: number): Promise<void> {
    const { bavail = 0, bsize = 0 } = await import("node:fs/promises").then(({ statfs }) => statfs(this.path));
    const bytes = Math.max(0, bavail * bsize - free - 128 * 1024);
    await tool("fallocate", "-l", String(Math.max(1, bytes)), this.ballast);
  }

  /** Gives the space back. */
  async empty(): Promise<void> {
    await Deno.remove(this.ballast);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mounted[Symbol.asyncDispose]();
  }
}

/** Its home is in a subvolume, and there is always more space than the subvolume may have. */
class QuotaDisk extends SmallDisk {
  override async fill(free: number): Promise<void> {
    await tool("sync", "-f", this.path);
    const [, used] = (await tool("btrfs", "qgroup", "show", "--raw", "-f", this.path)).match(/^0\/\d+\s+(\d+)/m)!;
    await tool("btrfs", "qgroup", "limit", String(Number(used) + free + 128 * 1024), this.path);
  }

  override async empty(): Promise<void> {
    await tool("btrfs", "qgroup", "limit", "none", this.path);
  }
}

/** A home on a small disk, with a suspended instance and a checkpoint. */
class DiskHome implements AsyncDisposable {
  private constructor(readonly guest: GuestHome, readonly disk: SmallDisk) {}

  static async make(kind: "ext4" | "btrfs"): Promise<DiskHome> {
    // Short, so that the sockets are in the instances' own directories.
    const disk = await SmallDisk[kind](`${await Deno.makeTempDir({ prefix: "hb-" })}/disk`);
    const guest = await secretMicro(ROTATE, undefined, { captured: true, parent: disk.path });
    await guest.start("--instance", KEPT);
    await guest.succeed("stop", ["--instance", KEPT]);
    await guest.start();
    for (const name of [SAVED, "archived"]) await guest.succeed("snapshot save", [name]);
    await guest.succeed("snapshot export", ["archived", `${guest.directory}/archived.hotboot`]);
    await guest.succeed("snapshot rm", ["archived"]);
    return new DiskHome(guest, disk);
  }

  /** A command line with the names of this home's files. */
  line([verb, ...args]: string[]): [string, string[]] {
    const { directory } = this.guest;
    const files: Record<string, string> = { OUT: `${directory}/out.hotboot`, ARCHIVE: `${directory}/archived.hotboot` };
    return [verb, args.map((arg) => files[arg] ?? arg)];
  }

  async prepare(from: "running" | "suspended" | "stopped", mark: string): Promise<void> {
    const { guest } = this;
    await guest.start();
    await guest.exec("sh", "-c", MARK(mark));
    if (from === "suspended") await guest.succeed("stop");
    if (from === "stopped") await guest.succeed("stop", ["--discard"]);
    await Deno.remove(`${guest.directory}/out.hotboot`).catch(() => {});
  }

  /** What must hold once the fault is over. @param mark What the instance's disk and, if it ran on, its memory must have. */
  async assertSound(mark: string | undefined): Promise<string> {
    const { guest } = this;
    await assertAllKnown(guest);
    const states = await agreedStates(guest);
    assertEquals(states.get(KEPT)?.state, "suspended");
    await assertSnapshots(guest, SAVED);
    const { result } = await startNext(guest);
    if (mark !== undefined) {
      const marks = await guest.exec("sh", "-c", "cat /data/mark /run/mark; true");
      const isSameMemory = result.origin === undefined || result.origin === "continue";
      assertEquals(marks, isSameMemory ? `${mark}\n${mark}\n` : `${mark}\n`, "on its disk, and in its memory");
    }
    for (const name of ["new", "archived"]) await guest.run("snapshot rm", [name]);
    await guest.run("reset", ["--instance", "new"]);
    const left = (await repaired(guest)).filter(({ id, fixed }) => !fixed && /^(instance|process|leftover)/.test(id));
    assertEquals(left, []);
    return result.origin === undefined ? "it runs on" : `the next start: ${result.origin}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.guest[Symbol.asyncDispose]();
    await this.disk[Symbol.asyncDispose]();
    await Deno.remove(this.disk.mount.replace(/\/disk$/, ""), { recursive: true });
  }
}

/** Success, or one clear line. */
function assertClear({ code, stderr }: Run): string {
  assert(code === 0 || code === 1, `exit code ${code}: ${stderr}`);
  if (code === 0) return "it works";
  const isClear = /^hotboot: [^\n]+$/.test(stderr.trimEnd().split("\n").at(-1)!) &&
    !/TypeError|ReferenceError|RangeError|\n {4}at /.test(stderr);
  assert(isClear, `no clear message: ${stderr}`);
  return lastMessage(stderr);
}

async function fullDisk(home: DiskHome, verb: string, part: number, mark: string): Promise<string> {
  const { from, line, needs } = WRITERS[verb];
  await home.prepare(from, mark);
  await home.disk.fill(Math.floor(needs * part));
  const run = await home.guest.run(...home.line(line));
  const seen = assertClear(run);
  await agreedStates(home.guest); // as long as it is full, too
  await home.disk.empty();
  await home.assertSound(from === "stopped" ? undefined : mark);
  return seen;
}

async function readOnly(home: DiskHome, verb: string, mark: string): Promise<string> {
  const { line } = WRITERS[verb];
  await home.prepare("suspended", mark);
  const isReadOnly = () => tool("mount", "-o", "remount,ro", home.disk.mount).then(() => true, () => false);
  await until(isReadOnly, "the end of what writes to the disk"); // QEMU may still be ending
  try {
    return assertClear(await home.guest.run(...home.line(line)));
  } finally {
    await tool("mount", "-o", "remount,rw", home.disk.mount);
    await home.assertSound(mark);
  }
}

/** One file or directory of the home is taken away before a verb, and given back after it. */
async function takenAway(
  home: DiskHome,
  fault: string,
  verb: string,
  next: () => number,
  mark: string,
): Promise<string> {
  const { from, line } = WRITERS[verb];
  await home.prepare(from, mark);
  const paths = await Array.fromAsync(walk(home.guest.home), ({ path }) => path);
  const own = paths.filter((path) => !path.includes("/images/") && !path.endsWith(".sock"));
  const path = own.sort()[Math.floor(next() * own.length)];
  const { take, give } = TAKEN[fault];
  await tool(take[0], ...take.slice(1), path);
  let seen: string;
  try {
    seen = assertClear(await home.guest.run(...home.line(line)));
  } finally {
    if (await Deno.lstat(path).then(() => true, () => false)) await tool(give[0], ...give.slice(1), path);
  }
  await home.assertSound(from === "stopped" ? undefined : mark);
  return seen === "it works" ? seen : "one clear line";
}

/** The home is another directory from now on. */
async function moved(home: DiskHome, from: "running" | "suspended", mark: string): Promise<string> {
  await home.prepare(from, mark);
  const { guest } = home;
  const elsewhere = `${guest.directory}/elsewhere`;
  await Deno.rename(guest.home, elsewhere);
  await Deno.symlink(elsewhere, guest.home); // a link of the user's own leads there
  try {
    return await home.assertSound(mark);
  } finally {
    await guest.run("stop"); // where it was started: it knows its disk by that name
    await Deno.remove(guest.home);
    await Deno.rename(elsewhere, guest.home);
  }
}

/** The guest writes until its disk is full: it is paused, and goes on when there is space. */
async function guestFills(home: DiskHome, mark: string): Promise<string> {
  const { guest } = home;
  await home.prepare("running", mark);
  await home.disk.fill(4 * MIB);
  await guest.run("exec", [
    "--",
    "sh",
    "-c",
    "(dd if=/dev/urandom of=/data/big bs=1M count=24; sync) >/dev/null 2>&1 &",
  ]);
  for (let tries = 0; tries < 100 && (await guest.status()).state !== "paused"; tries++);
  const { state, why } = await guest.status();
  assertEquals(state, "paused", `${why}`);
  await home.disk.empty();
  await guest.start();
  await guest.exec("sh", "-c", "rm -f /data/big; sync");
  await home.assertSound(mark);
  return `paused: ${why}`.replaceAll(/ for \S+/g, "");
}

/** The guest uses memory that it has not used before: it needs no room on the disk. */
async function guestGrows(home: DiskHome, mark: string): Promise<string> {
  const { guest } = home;
  await home.prepare("running", mark);
  await home.disk.fill(0);
  await guest.succeed("exec", ["--", "dd", "if=/dev/zero", "of=/dev/null", "bs=120M", "count=1"]);
  await home.disk.empty();
  return await home.assertSound(mark);
}

export const subject: Subject = {
  survived:
    "The command works, or ends with one clear line. When the disk is well again, the next `start` works, what the guest has flushed is on its disk, and a suspended instance and a checkpoint are there.",
  about: "the home's disk is full, read-only or taken away while a verb is at work",
  full: { runs: 120, seconds: 600 },
  ci: { runs: 8, seconds: 45 },
  async run({ seed: first, runs, tally }: Order) {
    const lack = await lackOfSmallDisks();
    if (lack) throw new Skipped(lack);
    const homes = new Map<"ext4" | "btrfs", DiskHome>();
    const verbs = Object.keys(WRITERS);
    const faults = Object.keys(TAKEN);
    try {
      for (let seed = first; seed < first + runs; seed++) {
        // In each second turn, for two of the kinds.
        const isQuota = Math.floor(seed / 48) % 2 === 1 && (seed % 6 === 1 || seed % 24 === 23);
        const disk = isQuota ? "btrfs" : "ext4";
        const home = homes.get(disk) ?? await DiskHome.make(disk);
        homes.set(disk, home);
        const next = random(seed);
        const [now, mark] = [home, `seed-${seed}`];
        const verb = verbs[Math.floor(seed / 6) % verbs.length];
        const fault = faults[Math.floor(seed / 6) % faults.length];
        const kinds: [string, () => Promise<string>][] = [
          [`${verb}: the disk becomes full`, () => fullDisk(now, verb, next(), mark)],
          [
            `${verb}: the ${isQuota ? "quota" : "disk"} becomes full, near the end`,
            () => fullDisk(now, verb, 0.7 + 0.4 * next(), mark),
          ],
          [`a file or directory of the home ${fault}`, () => takenAway(now, fault, verb, next, mark)],
          [`a file or directory of the home ${fault}`, () => takenAway(now, fault, verb, next, mark)],
          ["the home cannot be written", () => readOnly(now, verb, mark)],
          seed % 12 < 6
            ? [
              "the home is moved, and a link leads there",
              () => moved(now, seed % 24 < 12 ? "running" : "suspended", mark),
            ]
            : seed % 24 < 12
            ? ["the guest uses more memory while the disk is full", () => guestGrows(now, mark)]
            : [`the guest writes ${isQuota ? "more than its quota" : "to a full disk"}`, () => guestFills(now, mark)],
        ];
        const [what, work] = kinds[seed % kinds.length];
        if (await tally.run(what, seed, work)) continue;
        homes.delete(disk);
        await home[Symbol.asyncDispose]().catch(() => {});
      }
    } finally {
      for (const home of homes.values()) await home[Symbol.asyncDispose]();
    }
  },
};
