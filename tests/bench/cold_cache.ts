/**
 * What a dropped page cache, as after a reboot of the host, costs a resume, and what it would gain to read the
 * touched pages of the RAM file early.
 *
 * hotboot does not, and this shows why. QEMU asks for huge pages in the guest's RAM. If a program does that,
 * Linux 5.18 and later read 2 MiB of the file at a page fault, and 2 MiB ahead (`do_sync_mmap_readahead` in
 * mm/filemap.c): some 140 faults bring in nearly all the RAM file's data, about as fast as a quick disk can. No
 * reading can make a resume faster than a warm cache (the first figure), and on two busy CPUs it takes time from
 * QEMU. A slow disk, for which fewer bytes matter, gains something.
 *
 * Here the reading costs less than it would in hotboot: it begins when the command does, in a process that is warm.
 */

import { sleep } from "../../lib/base/wait.ts";
import { GuestHome } from "../e2e/guest_home.ts";
import { CACHE } from "../e2e/qemu.ts";
import { type Bench, ratio, type Scale, seconds, Skipped } from "./figure.ts";
import { output } from "./programs.ts";

const PAGE = 4096;
/** How often to look at the mapped pages, which gives their order. */
const LOOK_MS = 80;
/** The largest gap in pages between two touched ones that is read too, because one longer read takes less time. */
const GAP = 16;
const CHUNK = 1 << 20;
const READERS = 2;
const [WARM, DROPPED, BESIDE, AHEAD] = ["warm", "dropped", "read beside", "half read before, half beside"];

/** A range of bytes in a file. */
type Range = [from: number, to: number];

export const bench: Bench<Scale & { guest: "demo" | "micro"; runs: number }> = {
  about: "what a dropped page cache costs a resume",
  full: { seconds: 120, guest: "demo", runs: 7 },
  smoke: { seconds: 20, guest: "micro", runs: 1 },

  async measure({ guest, runs }) {
    if (Deno.build.os !== "linux" || Deno.uid() !== 0) {
      throw new Skipped("dropping the page cache needs Linux and root");
    }
    await dropCaches().catch(() => {
      throw new Skipped("/proc/sys/vm/drop_caches cannot be written");
    });
    // Beside the images, on a disk; /tmp may be in memory.
    await using home = await GuestHome.make({ guest, parent: CACHE });
    const isMemory = await output("stat", "-f", "-c", "%T", home.directory) === "tmpfs";
    if (isMemory) throw new Skipped(`${CACHE} is not on a disk`);

    await home.succeed("capture");
    const snapshot = await home.snapshot();
    const ram = `${snapshot}/ram`;
    const touched = await recordTouched(home, ram);
    const mebibytes = touched.reduce((sum, [from, to]) => sum + to - from, 0) / (1 << 20);
    console.error(`touched until healthy: ${mebibytes.toFixed(0)} of ${home.original.machine.memory} MiB`);

    const start = () => home.start("--no-fallback");
    const ways: Record<string, () => Promise<unknown>> = {
      [DROPPED]: start,
      [BESIDE]: () => Promise.all([start(), read(ram, touched).all]),
      [AHEAD]: async () => {
        const reading = read(ram, touched);
        await reading.half;
        await Promise.all([start(), reading.all]);
      },
      [WARM]: start,
    };
    const samples: Record<string, number[]> = Object.fromEntries(Object.keys(ways).map((way) => [way, []]));
    for (let run = 0; run < runs; run++) {
      for (const [way, work] of Object.entries(ways)) {
        if (way === WARM) await warm([snapshot, `${home.home}/images`]);
        else await dropCaches();
        samples[way].push(await seconds(work));
        await home.succeed("stop", ["--discard"]);
      }
    }
    const figure = (what: string, way: string) =>
      ratio(`${guest}: resume ${what} ÷ with a dropped page cache`, samples, [way, DROPPED]);
    return [
      figure("with a warm page cache", WARM),
      figure("with its touched pages read meanwhile", BESIDE),
      figure("with half of its touched pages read before, half meanwhile", AHEAD),
    ];
  },
};

/** Makes the kernel drop the page cache of all programs; dirty pages stay. */
async function dropCaches(): Promise<void> {
  await output("sync");
  await Deno.writeTextFile("/proc/sys/vm/drop_caches", "3\n", { create: false });
}

/** Reads all files of the directories. */
async function warm(directories: string[]): Promise<void> {
  for (const directory of directories) {
    for await (const { name } of Deno.readDir(directory)) {
      const file = await Deno.open(`${directory}/${name}`);
      await file.readable.pipeTo(new WritableStream());
    }
  }
}

/** Resumes it once, and returns the ranges of its RAM file that were mapped until it was healthy, in touch order. */
async function recordTouched(home: GuestHome, ram: string): Promise<Range[]> {
  let healthy = false;
  const started = home.start("--no-fallback").finally(() => healthy = true);
  started.catch(() => {}); // awaited below
  const seen = new Set<number>();
  const touched: Range[] = [];
  for (let last = false; !last;) {
    last = healthy;
    const [pid] = await home.qemuProcesses();
    for (const page of pid ? await mappedPages(pid, ram).catch(() => []) : []) {
      if (seen.has(page)) continue;
      seen.add(page);
      const range = touched.at(-1);
      const gap = range ? page * PAGE - range[1] : -1;
      if (range && gap >= 0 && gap <= GAP * PAGE) range[1] = (page + 1) * PAGE;
      else touched.push([page * PAGE, (page + 1) * PAGE]);
    }
    if (!last) await sleep(LOOK_MS);
  }
  await started;
  await home.succeed("stop", ["--discard"]);
  return touched;
}

/**
 * The numbers of the file's pages that are in the process's memory. A fault also maps the pages around it, if they
 * are cached.
 *
 * Source: Linux's documentation, admin-guide/mm/pagemap.rst: 8 bytes for each page, whose highest bit says
 * that it is present.
 */
async function mappedPages(pid: number, path: string): Promise<number[]> {
  const maps = await Deno.readTextFile(`/proc/${pid}/maps`);
  const [, from, to] = maps.match(new RegExp(`^(\\w+)-(\\w+) .* ${RegExp.escape(await Deno.realPath(path))}$`, "m"))!;
  const begin = parseInt(from, 16);
  const entries = new Uint8Array((parseInt(to, 16) - begin) / PAGE * 8);
  using file = await Deno.open(`/proc/${pid}/pagemap`);
  await file.seek(begin / PAGE * 8, Deno.SeekMode.Start);
  for (let at = 0, got: number | null; at < entries.length; at += got) {
    got = await file.read(entries.subarray(at));
    if (got === null) break; // the process has ended
  }
  const pages: number[] = [];
  for (let page = 0; page * 8 < entries.length; page++) if (entries[page * 8 + 7] & 0x80) pages.push(page);
  return pages;
}

/** Reads the ranges, so that the kernel caches them, and reports when half and all of them are read. */
function read(path: string, ranges: Range[]): { half: Promise<void>; all: Promise<void> } {
  const total = ranges.reduce((sum, [from, to]) => sum + to - from, 0);
  const half = Promise.withResolvers<void>();
  let [done, next] = [0, 0];
  const reader = async () => {
    using file = await Deno.open(path);
    const buffer = new Uint8Array(CHUNK);
    while (next < ranges.length) {
      const [from, to] = ranges[next++];
      await file.seek(from, Deno.SeekMode.Start);
      for (let at = from; at < to;) {
        const got = await file.read(buffer.subarray(0, Math.min(CHUNK, to - at))) ?? to - at;
        at += got;
        done += got;
        if (done * 2 >= total) half.resolve();
      }
    }
  };
  return { half: half.promise, all: Promise.all(Array.from({ length: READERS }, reader)).then(() => {}) };
}
