/** Kills hotboot, QEMU or both at a random time of each verb, with no chance to clean up. */

import { assert, assertEquals } from "@std/assert";
import { toText } from "@std/streams/to-text";
import { sleep } from "../../lib/base/wait.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { assertCode, hotboot, spawnHotboot } from "../e2e/program.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { random } from "../unit/random.ts";
import { agreedStates, assertAllKnown, assertSnapshots, killMachines, repaired, startNext } from "./invariants.ts";
import { OtherImages } from "./other_images.ts";
import { type Order, plain, type Subject, type Tally } from "./subject.ts";

/** A suspended instance and a checkpoint that no run may harm. */
const [KEPT, SAVED] = ["kept", "saved"];
/** How long a QEMU may take to appear after the moment at which it is to be killed. */
const APPEARS_MS = 2000;
/** How many homes are broken at once. */
const LANES = 2;

type Victim = "hotboot" | "QEMU" | "hotboot and QEMU";
const VICTIMS: Victim[] = ["hotboot", "QEMU", "hotboot and QEMU"];

/** One verb, and what surrounds its death. */
interface Verb {
  /** The instance's state before. */
  from: "running" | "suspended" | "stopped" | "any";
  /** Without it, no QEMU runs for it. */
  hasQemu: boolean;
  /** The instance's disk must outlive it. */
  keepsDisk: boolean;
  /** The command line. */
  line(setting: Setting, seed: number): string[];
  /** More to do before. */
  prepare?(setting: Setting): Promise<unknown>;
  /** The same verb again must work, whatever is left; then what it made is removed. */
  again(setting: Setting, line: string[]): Promise<void>;
}

const same = async (_: Setting, line: string[]) => assertCode(await hotboot(line), 0);

const VERBS: Record<string, Verb> = {
  build: {
    from: "any",
    hasQemu: false,
    keepsDisk: true,
    line: (setting) => setting.images.of("built", "build", "--force"),
    async again(setting, line) {
      await setting.images.assertImage("built");
      await same(setting, line);
      await setting.images.assertImage("built", "is there");
    },
  },
  pull: {
    from: "any",
    hasQemu: false,
    keepsDisk: true,
    prepare: (setting) => setting.images.removeImage("pulled"),
    line: (setting) => setting.images.of("pulled", "pull", "--skip-snapshot"),
    async again(setting, line) {
      await setting.images.assertImage("pulled");
      await same(setting, line);
      await setting.images.assertImage("pulled", "is there");
    },
  },
  push: {
    from: "any",
    hasQemu: false,
    keepsDisk: true,
    line: (setting, seed) =>
      setting.images.of("built", "push", `oci://${setting.images.registry.host}/team/run-${seed}:main`),
    again: same,
  },
  capture: {
    from: "stopped",
    hasQemu: true,
    keepsDisk: false,
    line: ({ guest }) => guest.arguments("capture", "--force"),
    again: async (setting, line) => {
      if (await setting.runs()) return;
      assertCode(await hotboot(line.filter((arg) => arg !== "--force")), 0);
    },
  },
  start: {
    from: "suspended",
    hasQemu: true,
    keepsDisk: true,
    line: ({ guest }) => guest.arguments("start"),
    again: same,
  },
  rotate: {
    from: "stopped",
    hasQemu: true,
    keepsDisk: false,
    line: ({ guest }) => guest.arguments("start", "--no-fallback"),
    again: same,
  },
  stop: {
    from: "running",
    hasQemu: true,
    keepsDisk: true,
    line: ({ guest }) => guest.arguments("stop"),
    again: same,
  },
  save: {
    from: "running",
    hasQemu: true,
    keepsDisk: true,
    line: ({ guest }) => guest.arguments("snapshot save", "new"),
    async again({ guest }, line) {
      const all = await assertSnapshots(guest);
      if (!all.some(({ name }) => name === "new") && (await guest.status()).state !== "crashed") {
        assertCode(await hotboot(line), 0);
      }
      await guest.run("snapshot rm", ["new"]);
    },
  },
  fork: {
    from: "running",
    hasQemu: true,
    keepsDisk: true,
    line: ({ guest }) => guest.arguments("fork", "new"),
    async again({ guest }, line) {
      if ((await guest.states())["new"] === undefined) assertCode(await hotboot(line), 0);
      else await guest.succeed("start", ["--instance", "new"]); // it had been made
      await guest.succeed("reset", ["--instance", "new"]);
    },
  },
  reset: {
    from: "running",
    hasQemu: true,
    keepsDisk: false,
    line: ({ guest }) => guest.arguments("reset"),
    again: same,
  },
  export: {
    from: "any",
    hasQemu: false,
    keepsDisk: true,
    prepare: ({ guest }) => Deno.remove(`${guest.directory}/out.hotboot`).catch(() => {}),
    line: ({ guest }) => guest.arguments("snapshot export", SAVED, `${guest.directory}/out.hotboot`),
    async again({ guest }, line) {
      const path = `${guest.directory}/out.hotboot`;
      const isThere = await Deno.stat(path).then(() => true, () => false);
      if (isThere) assertCode(await guest.run("snapshot import", [path, "--name", "new"]), 0); // it is whole
      assertCode(await hotboot(line), 0);
    },
  },
  import: {
    from: "any",
    hasQemu: false,
    keepsDisk: true,
    line: ({ guest, archive }) => guest.arguments("snapshot import", archive),
    async again({ guest }, line) {
      await assertSnapshots(guest);
      assertCode(await hotboot(line), 0);
      await guest.succeed("snapshot rm", ["archived"]);
    },
  },
};

const NAMES = Object.keys(VERBS);

/** A home with a guest that runs, a suspended instance, a checkpoint, an archive, and more profiles. */
class Setting implements AsyncDisposable {
  readonly archive: string;

  private constructor(
    readonly guest: GuestHome,
    readonly images: OtherImages,
    readonly lengths: Map<string, number>,
  ) {
    this.archive = `${guest.directory}/archived.hotboot`;
  }

  static async make(lengths: Map<string, number>): Promise<Setting> {
    const guest = await secretMicro(ROTATE, undefined, { captured: true });
    await using undoing = new AsyncDisposableStack();
    const setting = undoing.use(new Setting(guest, await OtherImages.make(guest), lengths));
    const mark = (instance: string, text: string) =>
      guest.succeed("exec", ["--instance", instance, "--", "sh", "-c", MARK(text)]);
    await guest.start("--instance", KEPT);
    await mark(KEPT, KEPT);
    await guest.succeed("stop", ["--instance", KEPT]);
    await guest.start();
    await mark(guest.guest, SAVED);
    await guest.succeed("snapshot save", [SAVED]);
    await guest.succeed("snapshot save", ["archived"]);
    await guest.succeed("snapshot export", ["archived", setting.archive]);
    await guest.succeed("snapshot rm", ["archived"]);
    await setting.images.succeed("built", "build");
    await setting.images.succeed("built", "push", setting.images.published);
    undoing.move();
    return setting;
  }

  async runs(): Promise<boolean> {
    return (await this.guest.status()).state === "running";
  }

  /** Brings the instance where the verb begins, with `mark` in its memory and on its disk. */
  async prepare({ from, prepare }: Verb, mark: string): Promise<void> {
    const { guest } = this;
    if (from !== "any") {
      await guest.start();
      await guest.exec("sh", "-c", MARK(mark));
    }
    if (from === "suspended") await guest.succeed("stop");
    if (from === "stopped") await guest.succeed("stop", ["--discard"]);
    await prepare?.(this);
  }

  /** How long the verb takes, in ms, measured once. */
  async length(name: string): Promise<number> {
    const known = this.lengths.get(name);
    if (known !== undefined) return known;
    const verb = VERBS[name];
    await this.prepare(verb, "measured");
    const line = verb.line(this, 0);
    const begin = performance.now();
    assertCode(await hotboot(line), 0);
    const ms = performance.now() - begin;
    this.lengths.set(name, ms);
    await this.guest.start();
    if (["save", "fork", "import"].includes(name)) await verb.again(this, line);
    return ms;
  }

  /** The suspended instance continues, and the checkpoint starts: with what was in their memories and on their disks. */
  async assertKept(): Promise<void> {
    const { guest } = this;
    const read = (instance: string) =>
      guest.succeed("exec", ["--instance", instance, "--", "cat", "/run/mark", "/data/mark"]);
    assertEquals((await guest.start("--instance", KEPT)).origin, "continue");
    assertEquals(await read(KEPT), `${KEPT}\n${KEPT}\n`);
    await guest.succeed("stop", ["--instance", KEPT]);
    await guest.start("--instance", "copy", "--from", SAVED);
    assertEquals(await read("copy"), `${SAVED}\n${SAVED}\n`);
    await guest.succeed("reset", ["--instance", "copy"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.images[Symbol.asyncDispose]();
    await this.guest[Symbol.asyncDispose]();
  }
}

/** Writes a mark into the guest's memory and on its disk. */
const MARK = (mark: string) => `echo ${mark} >/run/mark; echo ${mark} >/data/mark; sync`;

/** Runs the verb, and stops it and all QEMUs for a while `ms` after its begin, as a host does that sleeps. */
async function sleepDuring({ guest }: Setting, line: string[], ms: number, sleepMs: number): Promise<void> {
  const child = spawnHotboot(line);
  const outputs = [toText(child.stdout), toText(child.stderr)];
  let hasEnded = false;
  const ended = child.status.then(() => hasEnded = true);
  await Promise.race([sleep(ms), ended]);
  const all = [...hasEnded ? [] : [child.pid], ...await guest.qemuProcesses()];
  const tell = (signal: Deno.Signal) => {
    for (const pid of all) {
      try {
        Deno.kill(pid, signal);
      } catch {
        // it has ended
      }
    }
  };
  tell("SIGSTOP");
  await sleep(sleepMs);
  tell("SIGCONT");
  const { code } = await child.status;
  const [, stderr] = await Promise.all(outputs);
  const isClear = code === 1 && /^hotboot: \S[^\n]*$/.test(stderr.trimEnd().split("\n").at(-1)!);
  assert(code === 0 || isClear, `exit code ${code}: ${stderr}`);
}

/** Runs the verb and kills the victim `ms` after its begin. */
async function die({ guest }: Setting, line: string[], victim: Victim, ms: number): Promise<void> {
  const child = spawnHotboot(line);
  const outputs = [toText(child.stdout), toText(child.stderr)];
  let hasEnded = false;
  const ended = child.status.then(() => hasEnded = true);
  await Promise.race([sleep(ms), ended]);
  if (victim !== "QEMU") killNow(child);
  if (victim === "hotboot and QEMU") await killMachines(guest);
  if (victim === "QEMU") {
    for (const end = performance.now() + APPEARS_MS; performance.now() < end && !hasEnded; await sleep(2)) {
      if (await killMachines(guest) > 0) break;
    }
  }
  await ended;
  await Promise.all(outputs);
}

function killNow(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // it has ended
  }
}

/** One run: which verb, which victim and when follow from the seed. */
async function runOne(setting: Setting, seed: number, known: Set<string>, sleepMs?: number): Promise<string> {
  const { guest } = setting;
  const { name, victim, part } = choose(seed);
  const verb = VERBS[name];
  const ms = part * await setting.length(name);
  const mark = `seed-${seed}`;
  await setting.prepare(verb, mark);
  const line = verb.line(setting, seed);
  await (sleepMs === undefined ? die(setting, line, victim, ms) : sleepDuring(setting, line, ms, sleepMs));

  await assertAllKnown(guest);
  const [states] = await Promise.all([agreedStates(guest), assertSnapshots(guest, SAVED)]);
  assertEquals(states.get(KEPT)?.state, "suspended");
  const { result, run } = await startNext(guest);
  if (verb.from !== "any" && verb.keepsDisk) {
    const marks = await guest.exec("sh", "-c", "cat /data/mark /run/mark; true");
    const isSameMemory = result.origin === undefined || result.origin === "continue";
    assertEquals(marks, isSameMemory ? `${mark}\n${mark}\n` : `${mark}\n`, "on its disk, and in its memory");
  }
  const findings = await repaired(guest);
  for (const { id, reason, fixed } of findings) {
    const isExpected = known.has(id) || (fixed && isLeftover(id));
    assert(isExpected, `doctor: ${id}: ${reason}`);
  }
  await verb.again(setting, line);
  await assertAllKnown(guest);
  if (verb.from === "any") {
    const left = findings.some(({ fixed }) => fixed) ? ", once its leftovers are pruned" : "";
    return `the same command again does it${left}`;
  }
  if (result.origin === undefined) return "it still ran";
  const why = /warning: ([^\n]*(?:ended by itself|crashed|not resumed)[^\n:]*)/.exec(run.stderr)?.[1];
  return `the next start: ${result.origin}${why ? ` (${plain(why)})` : ""}`;
}

/** Files that nobody uses or trusts. They take room until `doctor --fix`, `prune` or the same command removes them. */
function isLeftover(id: string): boolean {
  return id.startsWith("leftover.");
}

/** What a seed means. All verbs and victims take turns. */
function choose(seed: number): { name: string; victim: Victim; part: number } {
  const name = NAMES[seed % NAMES.length];
  const turn = Math.floor(seed / NAMES.length);
  const victim = VERBS[name].hasQemu ? VICTIMS[turn % VICTIMS.length] : "hotboot";
  return { name, victim, part: random(seed)() };
}

/** What must hold after each run. */
const SURVIVED =
  "No QEMU runs that no instance knows; `status`, `list` and `start` agree; the next `start` works, and the same command " +
  "again; what the guest has flushed is on its disk; a suspended instance and a checkpoint are there; `doctor` finds nothing " +
  "but leftovers, and `--fix` removes them.";

export const subject: Subject = {
  survived: SURVIVED,
  about: "hotboot, QEMU or both are killed at a random moment of each verb",
  full: { runs: 312, seconds: 1500 },
  ci: { runs: 18, seconds: 80 },
  run: (order) =>
    inLanes(order, (seed) => {
      const { name, victim } = choose(seed);
      return { fault: `${name}: ${victim} killed` };
    }),
};

/** The longest sleep. Limits of waits go on meanwhile, as they do not while a real host sleeps. */
const LONGEST_SLEEP_MS = 20_000;

export const sleeping: Subject = {
  survived: `The command works, or ends with one clear line. ${SURVIVED}`,
  about: "hotboot and all QEMUs stand still for up to 20 s (SIGSTOP) at a random moment of each verb",
  full: { runs: 48, seconds: 500 },
  ci: { runs: 2, seconds: 30 },
  run: (order) =>
    inLanes(order, (seed) => {
      const sleepMs = random(seed + 1)() ** 2 * LONGEST_SLEEP_MS;
      return { fault: `${choose(seed).name}: the host sleeps`, sleepMs };
    }),
};

/** Runs all seeds, in some homes at once. */
async function inLanes({ seed: first, runs, tally }: Order, plan: Plan): Promise<void> {
  const seeds = Array.from({ length: runs }, (_, at) => first + at).values();
  const lengths = new Map<string, number>();
  await Promise.all(Array.from({ length: Math.min(LANES, runs) }, () => lane(seeds, lengths, tally, plan)));
}

/** What a seed does. */
type Plan = (seed: number) => { fault: string; sleepMs?: number };

/** Runs in one home, one after another; after a failure in a new one. */
async function lane(seeds: Iterable<number>, lengths: Map<string, number>, tally: Tally, plan: Plan): Promise<void> {
  await using homes = new AsyncDisposableStack();
  let setting: Setting | undefined;
  let known = new Set<string>();
  let last = 0;
  for (const seed of seeds) {
    if (!setting) {
      setting = homes.use(await Setting.make(lengths));
      known = new Set((await repaired(setting.guest)).map(({ id }) => id));
    }
    const { fault, sleepMs } = plan(seed);
    const now = setting;
    if (!await tally.run(fault, seed, () => runOne(now, seed, known, sleepMs))) setting = undefined;
    last = seed;
  }
  const rest = setting;
  if (rest) await tally.run("a suspended instance and a checkpoint, after all of it", last, () => rest.assertKept());
}
