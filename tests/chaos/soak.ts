/** The same again and again: nothing may pile up. */

import { assert, assertEquals } from "@std/assert";
import { walk } from "@std/fs/walk";
import { exists } from "@std/fs/exists";
import { Home } from "../../lib/instance/home.ts";
import { disksUnder, layerName } from "../../lib/instance/layers.ts";
import { GuestHome } from "../e2e/guest_home.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { agreedStates, assertAllKnown, repaired } from "./invariants.ts";
import type { Order, Subject, Tally } from "./subject.ts";

/** After so many rounds, all that is made once is there: logs, caches, locks. */
const WARM_UP = 2;
/** How much larger the home may become, in bytes: the instance's history and log have limits, but grow until they reach them. */
const MOST_GROWTH = 2 * 2 ** 20;
/** The same of the instance's own disk, whose guest writes nothing but its file system's notes about mounts. */
const MOST_DISK_GROWTH = 2 ** 20;
/** The same of the memory of a QEMU that runs on: of what it has beside the guest's RAM. */
const MOST_MEMORY_GROWTH = 8 * 2 ** 20;
/** A QEMU may have this many more files open: connections that are being closed. */
const MOST_HANDLES = 10;
/** A start may take this many times as long in the last third of the rounds as in the first. */
const MOST_SLOWER = 1.5;
/** Fewer starts tell nothing about a slope. */
const FEWEST_STARTS = 30;
/** The layers below a running instance's disk: one that is its own, and one of its last save. */
const MOST_LAYERS = 2;

/** The instances that come and go. */
const OTHERS = ["fresh", "forked"];

/** What could pile up. */
interface Heap {
  files: number;
  bytes: number;
  /** Of the instance's own disk, and of its memory. */
  diskBytes: number;
  ramBytes: number;
  layers: number;
  processes: number;
  sockets: number;
  /** Outside the home: sockets' directories with short names, and shared memory. */
  elsewhere: number;
  /** Of the QEMUs: open files, and the memory that is not mapped from a file. */
  handles: number;
  memory: number;
}

async function heapOf(guest: GuestHome): Promise<Heap> {
  let [files, bytes, sockets] = [0, 0, 0];
  for await (const { path } of walk(guest.home)) {
    const { blocks, isSocket } = await Deno.lstat(path);
    files++;
    sockets += isSocket ? 1 : 0;
    bytes += (blocks ?? 0) * 512;
  }
  const processes = await processesOf(guest);
  let [handles, memory] = [0, 0];
  for (const pid of processes) {
    handles += Array.from(Deno.readDirSync(`/proc/${pid}/fd`)).length;
    memory += 1024 * Number((await Deno.readTextFile(`/proc/${pid}/status`)).match(/^RssAnon:\s+(\d+) kB$/m)?.[1]);
  }
  const disk = await diskOf(guest);
  return {
    files,
    bytes,
    sockets,
    processes: processes.length,
    handles,
    memory,
    diskBytes: await takenBy(disk),
    ramBytes: await takenBy(`${guest.instance}/memory.ram`),
    layers: (await disksUnder(disk))!.filter(layerName).length,
    elsewhere: await filesElsewhere(guest),
  };
}

/** What a file takes on the disk, in bytes; 0 without it. */
async function takenBy(path: string): Promise<number> {
  return 512 * await Deno.stat(path).then(({ blocks }) => blocks ?? 0, () => 0);
}

/** The directories for sockets of this home's instances, where its path is too long for them; and shared memory. */
async function filesElsewhere(guest: GuestHome): Promise<number> {
  const home = new Home(guest.home);
  const places = await Promise.all([guest.guest, ...OTHERS].map((name) => home.sockets(name)));
  const short = await Promise.all(
    places.filter((path) => path.startsWith("/tmp/hotboot-")).map((path) => exists(path)),
  );
  const shared = Array.from(Deno.readDirSync("/dev/shm")).filter(({ name }) => name.startsWith("qemu"));
  return short.filter(Boolean).length + shared.length;
}

/** All that runs for this home: QEMUs, and any hotboot that has not ended. */
async function processesOf(guest: GuestHome): Promise<number[]> {
  const found: number[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const line = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "");
    if (line.includes(`${guest.directory}/`)) found.push(Number(name));
  }
  return found;
}

/** The disk that the instance, or its QEMU, writes to. */
async function diskOf(guest: GuestHome): Promise<string> {
  const names = (await Array.fromAsync(Deno.readDir(guest.instance))).map(({ name }) => name);
  const numbers = names.flatMap((name) => name.match(/^disk\.(\d+)\.qcow2$/)?.[1] ?? []).map(Number);
  return `${guest.instance}/${numbers.length > 0 ? `disk.${Math.max(...numbers)}.qcow2` : "disk.qcow2"}`;
}

/** Starts an instance, and adds how long that took to a list. */
type TimedStart = (...args: string[]) => Promise<string | undefined>;

interface Kind {
  /** Whether the instance runs before and after each round. */
  runs: boolean;
  /** Whether the guest itself writes to its disk, and to memory that it has not used before: logs, services that go on. */
  writes?: boolean;
  /** One round; the next one begins where it has begun. */
  round(guest: GuestHome, start: TimedStart): Promise<void>;
}

const FORK_AND_RESET: Kind["round"] = async (guest) => {
  await guest.succeed("fork", [guest.guest, "forked"]);
  await guest.succeed("reset", ["--instance", "forked"]);
};
const SAVE_AND_REMOVE: Kind["round"] = async (guest) => {
  await guest.succeed("snapshot save", ["again"]);
  await guest.succeed("snapshot rm", ["again"]);
};
const START_AND_STOP: Kind["round"] = async (guest, start) => {
  assertEquals(await start(), "continue");
  await guest.succeed("stop");
};

const KINDS: Record<string, Kind> = {
  "start and stop": { runs: false, round: START_AND_STOP },
  "start and stop --discard": {
    runs: false,
    async round(guest, start) {
      await start("--instance", "fresh", "--no-fallback");
      await guest.succeed("stop", ["--instance", "fresh", "--discard"]);
    },
  },
  "fork and reset": { runs: false, round: FORK_AND_RESET },
  "save and remove": { runs: false, round: SAVE_AND_REMOVE },
  "fork, stop, start of the fork and reset": {
    runs: false,
    async round(guest, start) {
      await guest.succeed("fork", [guest.guest, "forked"]);
      await guest.succeed("stop", ["--instance", "forked"]);
      assertEquals(await start("--instance", "forked"), "continue");
      await guest.succeed("reset", ["--instance", "forked"]);
    },
  },
  "fork and reset of a running one": { runs: true, round: FORK_AND_RESET },
  "save and remove of a running one": { runs: true, round: SAVE_AND_REMOVE },
};

/** All rounds of one kind, and what is left of them. False if a round failed. */
async function soak(guest: GuestHome, name: string, { runs, writes, round }: Kind, order: Order): Promise<boolean> {
  const { seed, tally } = order;
  const times: number[] = [];
  const start: TimedStart = async (...args) => {
    const begin = performance.now();
    const { origin } = await guest.start(...args);
    times.push(performance.now() - begin);
    return origin;
  };
  if (runs) await guest.start();
  let before: Heap | undefined;
  for (let done = 0; done < WARM_UP + order.runs; done++) {
    if (done === WARM_UP) before = await heapOf(guest);
    const isCounted = done >= WARM_UP;
    if (isCounted && !await tally.run(name, seed + done, () => round(guest, start))) return false;
    if (!isCounted) await round(guest, start);
  }
  await tally.run(`${name}: what is left after all rounds`, seed, () => assertSame(guest, before!, writes));
  assertFlat(name, times.slice(WARM_UP), tally, seed);
  if (runs) await guest.succeed("stop");
  return true;
}

async function assertSame(guest: GuestHome, before: Heap, writes = false): Promise<string> {
  await assertAllKnown(guest);
  await agreedStates(guest);
  const grown = await heapOf(guest);
  for (const what of ["ramBytes", "diskBytes"] as const) {
    if (writes) grown.bytes -= grown[what] - before[what]; // the rest of the home grows as little as that of any other
    if (writes || what === "ramBytes") grown[what] = before[what];
  }
  const sizes = { bytes: MOST_GROWTH, diskBytes: MOST_DISK_GROWTH, memory: MOST_MEMORY_GROWTH, handles: MOST_HANDLES };
  for (const [what, most] of Object.entries(sizes) as [keyof typeof sizes, number][]) {
    const more = grown[what] - before[what];
    assert(more < most, `${what} grew by ${more}`);
    grown[what] = before[what];
  }
  assert(grown.layers <= MOST_LAYERS, `${grown.layers} layers`);
  assertEquals(grown, before);
  assertEquals((await repaired(guest)).filter(({ id }) => /^(leftover|process|instance)/.test(id)), []);
  return "as many files, sockets, handles and processes as before";
}

/** Starts do not become slower. The machine's other work changes the time of one, and hardly that of the middle one of many. */
function assertFlat(name: string, times: number[], tally: Tally, seed: number): void {
  if (times.length < FEWEST_STARTS) return;
  const third = Math.floor(times.length / 3);
  const [first, last] = [times.slice(0, third), times.slice(-third)].map(median);
  tally.run(`${name}: the time of a start`, seed, () => {
    assert(last < MOST_SLOWER * first, `a start took ${first.toFixed()} ms at first, and ${last.toFixed()} ms at last`);
    return "as long at last as at first";
  });
}

function median(times: number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)];
}

/** Of the demo guest, which is as large as what people use, this part of the rounds, in so many of them. */
const DEMO_PART = 2 / 5;

export const subject: Subject = {
  survived:
    "There are as many files, sockets, processes and open handles as before all rounds; the home, the instance's own disk and " +
    "QEMU's memory are no larger; no more than two layers are below the disk; starts take no longer at last than at first.",
  about: "the same rounds again and again (`--runs`: rounds of each kind)",
  full: { runs: 125, seconds: 2400 },
  ci: { runs: 1, seconds: 25 },
  async run(order: Order) {
    {
      await using guest = await secretMicro(ROTATE, undefined, { captured: true });
      await guest.start();
      await guest.succeed("stop");
      for (const [name, kind] of Object.entries(KINDS)) {
        if (!await soak(guest, name, kind, order)) return;
      }
    }
    const runs = Math.floor(order.runs * DEMO_PART);
    if (runs === 0) return; // as in CI, where nothing else needs this guest at that moment
    await using demo = await GuestHome.make({ guest: "demo", captured: true });
    await demo.start();
    await demo.succeed("stop");
    await soak(demo, "start and stop of the demo", { runs: false, writes: true, round: START_AND_STOP }, {
      ...order,
      runs,
    });
  },
};
