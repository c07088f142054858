/** The power goes at any write: the home is on a disk that forgets what was not flushed. */

import { assert, assertEquals } from "@std/assert";
import type { GuestHome } from "../e2e/guest_home.ts";
import { HOTBOOT } from "../e2e/program.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { random } from "../unit/random.ts";
import { OtherImages } from "./other_images.ts";
import { agreedStates, killMachines, repaired, startNext } from "./invariants.ts";
import { lackOfLoggedDisks, LoggedDisk } from "./logged_disk.ts";
import { type Order, Skipped, type Subject } from "./subject.ts";
import type { SnapshotInfo } from "../../lib/emulator/snapshots.ts";

const DISK_MIB = 1200;
const [KEPT, SAVED, ARCHIVED] = ["kept", "saved", "archived"];
/** The steps of neighbouring seeds are of different kinds. */
const STRIDE = 7;
/** Whose images nobody starts. */
const PROFILES = ["built", "pulled", "released"];
/** So much of a kernel: what is written to the disk is replayed in each run. */
const KERNEL_BYTES = 2 ** 21;
/** The host has booted again since: its uptime is another. */
const ANOTHER_BOOT = ["unshare", "--time", "--boottime", "100000", "--"];

/** What must be there. */
interface Promised {
  /** The number that the guest has flushed to its disk. */
  mark: number;
  /** The instance is suspended, so its memory must be there. */
  isSuspended: boolean;
  /** Checkpoints by their names; of `a|b`, one. */
  saved: string[];
  /** The images of other profiles. */
  images: string[];
}

/** What was promised while a step was at work. */
interface Step extends Promised {
  name: string;
  /** How many writes had been logged at its begin and at its end. */
  from: number;
  to: number;
  /** It is about this profile's image: the same command again must make it. */
  again?: () => Promise<unknown>;
}

/** Does everything once, and writes down what was promised when. */
async function work(guest: GuestHome, disk: LoggedDisk, images: OtherImages): Promise<Step[]> {
  const steps: Step[] = [];
  let now: Promised = { mark: 0, isSuspended: false, saved: [SAVED], images: [] };
  /** While a step is at work, only what holds before and after it is promised, unless `meanwhile` says more. */
  const step = async (
    name: string,
    change: Partial<Promised>,
    run: () => Promise<unknown>,
    rest: Partial<Step> = {},
  ) => {
    const after = { ...now, ...change };
    const both = {
      mark: now.mark,
      isSuspended: now.isSuspended && after.isSuspended,
      saved: now.saved.filter((each) => after.saved.includes(each)),
      images: now.images,
    };
    const from = await disk.count();
    await run();
    steps.push({ name, ...both, from, to: await disk.count(), ...rest });
    now = after;
  };
  const hotboot = (verb: string, ...args: string[]) => () => guest.succeed(verb, args);
  const mark = (number: number) => {
    const write = `echo ${number} >/run/mark; echo ${number} >/data/mark; sync`;
    return step("write", { mark: number }, hotboot("exec", "--", "sh", "-c", write));
  };
  const image = (name: string, profile: string, verb: string, ...args: string[]) => {
    const again = () => images.succeed(profile, verb, ...args);
    return step(name, { images: [...new Set([...now.images, profile])] }, again, { again });
  };
  await mark(1);
  await step("stop", { isSuspended: true }, hotboot("stop"));
  await step("start", { isSuspended: false }, hotboot("start"));
  await mark(2);
  await step("save", { saved: [SAVED, "new"] }, hotboot("snapshot save", "new"));
  await step("fork", {}, hotboot("fork", "forked"));
  await step("reset", {}, hotboot("reset", "--instance", "forked"));
  await step("export", {}, hotboot("snapshot export", SAVED, `${guest.directory}/out.hotboot`));
  const renamed = { saved: [SAVED, "new|renamed"] };
  await step("rename", { saved: [SAVED, "renamed"] }, hotboot("snapshot rename", "new", "renamed"), renamed);
  await mark(3);
  await step("stop", { isSuspended: true }, hotboot("stop"));
  await step("capture", {}, hotboot("capture", "--force", "--instance", "second"));
  await step("start", { isSuspended: false }, hotboot("start"));
  await step("shutdown", {}, hotboot("stop", "--shutdown"));
  await step("boot", {}, hotboot("start"));
  await mark(4);
  await step("remove", { saved: [SAVED] }, hotboot("snapshot rm", "renamed"));
  const archive = `${guest.directory}/${ARCHIVED}.hotboot`;
  await step("import", { saved: [SAVED, ARCHIVED] }, hotboot("snapshot import", archive));
  await step("prune", {}, hotboot("snapshot prune"));
  await image("build", "built", "build");
  await step("push", {}, () => images.succeed("built", "push", images.published));
  await images.release();
  await image("pull from a registry", "pulled", "pull", "--skip-snapshot");
  await image("pull of a release", "released", "pull", "--skip-snapshot");
  return steps;
}

/** The power goes after so many writes; then the host boots. */
async function cut(
  guest: GuestHome,
  disk: LoggedDisk,
  images: OtherImages,
  { writes, promised, known, next }: { writes: number; promised: Step; known: Set<string>; next: () => number },
): Promise<string> {
  await using _mounted = await disk.mountCut(writes, next);
  try {
    const states = await agreedStates(guest);
    assertEquals(states.get(KEPT)?.state, "suspended");
    const state = states.get(guest.guest)?.state;
    if (promised.isSuspended) assertEquals(state, "suspended", "it had been suspended");
    const all: SnapshotInfo[] = JSON.parse(await guest.succeed("snapshot ls", ["--json"]));
    for (const { id, name, state, why } of all) assert(state !== "damaged", `${name ?? id} is damaged: ${why}`);
    for (const names of promised.saved) {
      const found = all.find(({ name }) => name !== undefined && names.split("|").includes(name));
      assertEquals(found?.state, "usable", `checkpoint '${names}'`);
      await guest.succeed("snapshot verify", [found!.name!]);
    }
    for (const profile of PROFILES) {
      await images.assertImage(profile, promised.images.includes(profile) ? "is there" : undefined);
    }
    const { result } = await startNext(guest);
    const marks = (await guest.exec("sh", "-c", "cat /data/mark /run/mark; true")).trim().split("\n").map(Number);
    assert(marks[0] >= promised.mark, `its disk has ${marks[0]}, and the guest had flushed ${promised.mark}`);
    if (result.origin === "continue") assertEquals(marks[0], marks[1], "its memory and its disk are of two moments");
    assertEquals((await guest.start("--instance", KEPT)).origin, "continue");
    const kept = await guest.succeed("exec", ["--instance", KEPT, "--", "cat", "/run/mark", "/data/mark"]);
    assertEquals(kept, `${KEPT}\n${KEPT}\n`);
    if (states.has("forked")) await guest.start("--instance", "forked"); // or it never was
    let left = "";
    for (const { id, reason, fixed } of await repaired(guest)) {
      // One that was being captured, and is not resumed: the next fresh start captures another.
      const isUnfinished = id.startsWith("snapshot.") && promised.name === "capture";
      if (isUnfinished) left = "; `doctor` names the unfinished snapshot";
      assert(fixed || known.has(id) || isUnfinished, `doctor: ${id}: ${reason}`);
    }
    await promised.again?.();
    for (const profile of promised.again ? PROFILES : []) await images.assertImage(profile);
    return `the next start: ${result.origin}${left}${promised.again ? "; the same command again does it" : ""}`;
  } finally {
    await killMachines(guest);
  }
}

export const subject: Subject = {
  survived:
    "After the host has booted again: what was promised before is there (a suspended session, a checkpoint, what the guest has flushed), each with its own content; nothing is damaged; each image has the bytes that its description names, and the same command again makes it; the next `start` works; `doctor` has nothing for a user to mend.",
  about: "the power goes while a verb is at work, and the disk forgets what was not flushed",
  full: { runs: 100, seconds: 700 },
  ci: { runs: 3, seconds: 60 },
  async run({ seed: first, runs, tally }: Order) {
    const lack = await lackOfLoggedDisks();
    if (lack) throw new Skipped(lack);
    await using disk = await LoggedDisk.make(await Deno.makeTempDir({ prefix: "hb-" }), DISK_MIB);
    const guest = await secretMicro(ROTATE, undefined, { captured: true, parent: disk.mount });
    await using images = await OtherImages.make(guest, KERNEL_BYTES);
    let steps: Step[];
    let known: Set<string>;
    try {
      await guest.start("--instance", KEPT);
      await guest.succeed("exec", [
        "--instance",
        KEPT,
        "--",
        "sh",
        "-c",
        `echo ${KEPT} | tee /run/mark >/data/mark; sync`,
      ]);
      await guest.succeed("stop", ["--instance", KEPT]);
      await guest.start();
      for (const name of [SAVED, ARCHIVED]) await guest.succeed("snapshot save", [name]);
      await guest.succeed("snapshot export", [ARCHIVED, `${guest.directory}/${ARCHIVED}.hotboot`]);
      await guest.succeed("snapshot rm", [ARCHIVED]);
      await guest.exec("sh", "-c", "echo 0 >/run/mark; echo 0 >/data/mark; sync");
      known = new Set((await repaired(guest)).map(({ id }) => id));
      await new Deno.Command("sync").output();
      steps = await work(guest, disk, images);
    } finally {
      await killMachines(guest);
      await disk.close();
    }
    HOTBOOT.unshift(...ANOTHER_BOOT);
    try {
      for (let seed = first; seed < first + runs; seed++) {
        const next = random(seed);
        const promised = steps[seed * STRIDE % steps.length];
        const writes = promised.from + Math.floor(next() * (promised.to - promised.from + 1));
        const order = { writes, promised, known, next };
        await tally.run(`the power goes: ${promised.name}`, seed, () => cut(guest, disk, images, order));
      }
    } finally {
      HOTBOOT.splice(0, ANOTHER_BOOT.length);
    }
  },
};
