/**
 * The host's clock is stepped while hotboot works, or says another year.
 *
 * hotboot and its QEMU get the clock of host_clock.c, which can be stepped at any moment; the times of files follow it, too. The
 * machine's own clock stays: others work with it. So this does not show what a step does to the timers that the kernel itself
 * keeps by the wall clock (hotboot and QEMU have none), or to the shells that hotboot starts.
 */

import { assert, assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { toText } from "@std/streams/to-text";
import { formatSpan } from "../../lib/base/format.ts";
import { sleep } from "../../lib/base/wait.ts";
import type { InstanceInfo } from "../../lib/emulator/list.ts";
import type { SnapshotInfo } from "../../lib/emulator/snapshots.ts";
import type { StartResult } from "../../lib/emulator/start.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { assertCode, hotboot, type Run } from "../e2e/program.ts";
import { ARCH } from "../e2e/qemu.ts";
import { RegistryServer } from "../e2e/registry_server.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { random } from "../unit/random.ts";
import { HostClock } from "./host_clock.ts";
import { agreedStates, assertAllKnown, assertSnapshots } from "./invariants.ts";
import { type Order, Skipped, type Subject } from "./subject.ts";

/** A suspended instance and a checkpoint that no run may harm. */
const [KEPT, SAVED] = ["kept", "saved"];
const DAY = 86_400;
/** By how much the clock is stepped, in seconds. */
const STEPS = [20, 3600, DAY, 365 * DAY];
/** A verb may take so long on a busy machine, in ms. Each step in time is far longer, or less than a limit of hotboot's. */
const MOST_MS = 120_000;
/** While a verb is at work, the clock is stepped within so many ms of its begin. */
const LATEST_MS = 2500;
/** How far a guest's clock may be off, in seconds: it is set when it is off by one, which takes a while on a busy machine. */
const CLOSE = 5;
const WAIT_SECONDS = 3;

/** What all runs share. */
interface Setting {
  guest: GuestHome;
  clock: HostClock;
  registry: RegistryServer;
  /** All snapshots' ids and machines' uuids so far. */
  seen: Map<string, string>;
}

/** One verb, and what must hold after it. */
interface Verb {
  /** The instance's state before. */
  from: "running" | "suspended" | "stopped";
  line: [verb: string, ...args: string[]];
  /** Its exit code; 0 by default. */
  code?: number;
  before?(setting: Setting): Promise<unknown>;
  /** Looks at the result, and removes what was made. `ms` is how long it took. */
  after?(setting: Setting, run: Run, ms: number): Promise<unknown>;
  /** Another program is run in the place of `line`. */
  run?(setting: Setting, seed: number): Promise<Run>;
}

const VERBS: Record<string, Verb> = {
  "stop": { from: "running", line: ["stop"] },
  "wait": {
    from: "stopped",
    line: ["wait", "--timeout", `${WAIT_SECONDS}`],
    code: 1,
    after(_, { stderr }, ms) {
      assertMatch(stderr, /is not up after 3 s/);
      assert(ms >= WAIT_SECONDS * 1000, `it waited ${ms} ms instead of ${WAIT_SECONDS} s`);
      return Promise.resolve();
    },
  },
  "start (resume, rotate)": { from: "stopped", line: ["start", "--json", "--no-fallback"] },
  "start (continue)": { from: "suspended", line: ["start", "--json"] },
  "fork": {
    from: "running",
    line: ["fork", "new", "--json"],
    after: ({ guest }) => guest.succeed("reset", ["--instance", "new"]),
  },
  "save": {
    from: "running",
    line: ["snapshot save", "new"],
    async after({ guest }) {
      await guest.succeed("snapshot verify", ["new"]);
      await guest.succeed("snapshot rm", ["new"]);
    },
  },
  "capture": {
    from: "stopped",
    line: ["capture", "--force", "--json"],
    async after({ guest }, { stdout }) {
      const { snapshot } = JSON.parse(stdout);
      await guest.start("--no-fallback");
      const { snapshot: used } = await guest.record();
      assertEquals(used, snapshot, "the newest snapshot is the one that is resumed");
    },
  },
  "status": { from: "running", line: ["status"] },
  "credentials": {
    from: "running",
    line: ["credentials"],
    after: (_, { stdout }) => Promise.resolve(assertMatch(stdout, /TOKEN/)),
  },
  "exec": { from: "running", line: ["exec", "--", "sleep", "1"] },
  "logs --follow": { from: "running", line: ["logs"], run: follow },
  "prune": { from: "running", line: ["snapshot prune"] },
  "pull": {
    from: "running",
    line: ["pull"],
    before: async ({ guest: { home } }) => {
      for (const end of ["json", "qcow2", "kernel", "initrd"]) {
        await Deno.remove(`${home}/images/pulled-${ARCH}.${end}`).catch(() => {});
      }
    },
    run: ({ guest: { home, directory } }) =>
      hotboot(["pull", "--skip-snapshot", "--home", home, "--profile", `${directory}/pulled.json`]),
  },
};

/** Years of clocks that lost theirs (Linux takes no time before its own uptime), and those in which counters overflow: the clock passes the moment during the run. */
const YEARS: Record<string, string> = {
  "it is 1970": "1970-01-01T01:00:00Z",
  "it is 1979": "1979-12-31T23:59:50Z",
  "2^31 seconds pass (2038)": "2038-01-19T03:14:02Z",
  "2^32 seconds pass (2106)": "2106-02-07T06:28:10Z",
  "it is 2199": "2199-12-31T23:59:50Z",
};
const MONTH = "a suspended instance continues a month later";

const VERB_NAMES = Object.keys(VERBS).map((name) => `while ${name} works`);
const KINDS = [MONTH, ...VERB_NAMES, ...Object.keys(YEARS)];

/** Follows the log, and ends that when a line has come that the guest printed meanwhile. */
async function follow({ guest }: Setting, seed: number): Promise<Run> {
  const child = guest.spawn("logs", "--follow");
  const stderr = toText(child.stderr);
  const mark = `mark ${seed} ${crypto.randomUUID()}`;
  let stdout = "";
  const timer = setTimeout(() => child.kill("SIGKILL"), MOST_MS);
  await guest.exec("sh", "-c", `sleep 1; echo ${mark} >/dev/console`);
  for await (
    const text of child.stdout.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
  ) {
    stdout += text;
    if (stdout.includes(mark)) child.kill("SIGINT");
  }
  clearTimeout(timer);
  assert(stdout.includes(mark), `the line did not come: ${stdout}`);
  return { code: (await child.status).code, stdout, stderr: await stderr };
}

/** Asserts that the guest's clock is that of the host. */
async function assertOnTime({ clock }: Setting, url: string): Promise<void> {
  const before = clock.now() / 1000;
  const { time } = await (await fetch(`${url}/cgi-bin/health`)).json();
  const after = clock.now() / 1000;
  const isClose = time > before - CLOSE && time < after + CLOSE;
  assert(isClose, `the guest's clock says ${time}, and the host's between ${before} and ${after}`);
}

/** Asserts that a line of a table tells this age, or one of the next seconds. */
function assertAge(text: string, name: string, time: string, { clock }: Setting): void {
  const line = text.split("\n").find((each) => each.split("  ")[0].split(/[ ()]/).includes(name)) ?? "";
  const seconds = (clock.now() - Date.parse(time)) / 1000;
  const ages = Array.from({ length: 30 }, (_, less) => formatSpan(Math.max(0, seconds - less)));
  assert(
    ages.some((age) => line.split(/\s+/).includes(age)),
    `the age of ${time} at ${clock.now()} is none of ${ages}: ${line}`,
  );
}

/** All that tells a time tells a possible one; nothing is lost, and no id is given twice. */
async function assertWell(setting: Setting): Promise<void> {
  const { guest, seen } = setting;
  await assertAllKnown(guest);
  const states = await agreedStates(guest);
  assertEquals(states.get(KEPT)?.state, "suspended");
  const snapshots: SnapshotInfo[] = await assertSnapshots(guest, SAVED);
  const instances: InstanceInfo[] = [...states.values()];
  const [list, table] = [await guest.succeed("list"), await guest.succeed("snapshot ls")];
  for (const { instance, running, ended } of instances) {
    const time = running?.started ?? ended;
    if (time !== undefined) assertAge(list, instance, time, setting);
  }
  for (const { id, created } of snapshots) assertAge(table, id, created!, setting);
  const texts = [list, table];
  for (const verb of ["status", "doctor", "timeline"]) {
    const { stdout, stderr } = await guest.run(verb);
    texts.push(stdout, stderr);
  }
  for (const text of texts) {
    assertNotMatch(text, /NaN|Invalid|undefined|[ (]-\d+(\.\d+)?( ?ms|s|m|h|d)|[ (]\?( |$)|\d{3,}h\d\dm/m);
  }
  for (const { id, created } of snapshots) {
    assertMatch(id, /^\d{8}T\d{6}Z-[0-9a-f]{4}$/);
    assertEquals(seen.get(id) ?? created, created, `two snapshots are called ${id}`);
    seen.set(id, created!);
  }
  const record = await guest.record();
  assertEquals(seen.get(record.uuid) ?? record.started, record.started, `two machines have uuid ${record.uuid}`);
  seen.set(record.uuid, record.started);
}

/** The last command that the instance remembers took no longer than the whole run, whatever the clock did. */
async function assertTimeline({ guest }: Setting, verb: string, ms: number): Promise<void> {
  const all = JSON.parse(await guest.succeed("timeline", ["--json"]));
  const { command, ms: told, timeline } = (Array.isArray(all) ? all : all.runs).at(-1);
  assertEquals(command, verb === "fork" ? "save" : verb, "the last run"); // one that took less than nothing is left out
  assert(told <= ms, `it says that it took ${told} ms, and it took ${ms} ms`);
  for (const { name, startMs, endMs } of timeline) {
    assert(startMs <= endMs && endMs <= told + 1, `${name}: ${startMs} to ${endMs} ms`);
  }
}

/** Brings the instance where the verb begins. */
async function prepare({ guest }: Setting, from: Verb["from"]): Promise<void> {
  await guest.start();
  if (from === "suspended") await guest.succeed("stop");
  if (from === "stopped") await guest.succeed("stop", ["--discard"]);
}

/** A verb, with steps before, while and after it. */
async function stepAround(setting: Setting, name: string, seed: number): Promise<string> {
  const { guest, clock } = setting;
  const verb = VERBS[name];
  const next = random(seed);
  const amount = () => STEPS[Math.floor(next() * STEPS.length)] * (next() < 0.5 ? -1 : 1);
  const [before, during, after, isStepped] = [amount(), amount(), amount(), next() < 0.7];
  clock.set(Date.now());
  await prepare(setting, verb.from);
  await verb.before?.(setting);
  clock.step(before);
  const begin = performance.now();
  const stepped = sleep(next() * LATEST_MS).then(() => isStepped && clock.step(during));
  const running = verb.run ? verb.run(setting, seed) : guest.run(verb.line[0], verb.line.slice(1));
  const run = await Promise.race([
    running,
    sleep(MOST_MS).then(() => Promise.reject(new Error(`it takes more than ${MOST_MS / 1000} s`))),
  ]);
  const ms = performance.now() - begin;
  await stepped;
  assertCode(run, verb.code ?? 0);
  assertNotMatch(run.stderr, /warning:[^\n]*clock/);
  if (["start", "stop", "capture", "fork"].includes(verb.line[0])) await assertTimeline(setting, verb.line[0], ms);
  if (verb.line[0] === "start" || verb.line[0] === "fork") {
    const { urls }: StartResult = JSON.parse(run.stdout);
    if (!isStepped) await assertOnTime(setting, urls.web);
  }
  await verb.after?.(setting, run, ms);
  clock.step(after);
  const { origin, urls } = await guest.start();
  await assertOnTime(setting, urls.web);
  await assertWell(setting);
  if (verb.from === "running" && verb.line[0] === "stop") assertEquals(origin, "continue");
  return verb.code ? "the limit passes by the real time" : "it works, and the guest's clock is right";
}

/** Everything once, in another year. */
async function year(setting: Setting, name: string): Promise<string> {
  const { guest, clock } = setting;
  clock.set(Date.now());
  await guest.start();
  clock.set(Date.parse(YEARS[name]));
  assertMatch((await guest.run("status")).stderr, /the guest's clock was \d+d (behind|ahead); it is set/);
  await assertOnTime(setting, `http://127.0.0.1:${guest.port}`);
  await guest.succeed("stop");
  const { origin, urls } = await guest.start();
  assertEquals(origin, "continue");
  await assertOnTime(setting, urls.web);
  await guest.succeed("snapshot save", ["new"]);
  const other = await guest.start("--instance", "other", "--from", "new", "--no-fallback");
  await assertOnTime(setting, other.urls.web);
  await assertWell(setting);
  const archive = `${guest.directory}/year.hotboot`;
  await guest.succeed("snapshot export", ["new", archive]);
  await guest.succeed("reset", ["--instance", "other"]);
  await guest.succeed("snapshot rm", ["new"]);
  await guest.succeed("snapshot import", [archive]);
  await guest.succeed("snapshot rm", ["new"]);
  await Deno.remove(archive);
  clock.set(Date.now());
  const back = await guest.start();
  await assertOnTime(setting, back.urls.web);
  await assertWell(setting);
  return "all works, and the guest's clock is right";
}

async function monthLater(setting: Setting): Promise<string> {
  const { guest, clock } = setting;
  clock.set(Date.now());
  await prepare(setting, "suspended");
  clock.step(30 * DAY);
  await assertWell(setting);
  const { origin, urls } = await guest.start();
  assertEquals(origin, "continue");
  await assertOnTime(setting, urls.web);
  await assertWell(setting);
  return "it continues, and the guest's clock is right";
}

/** A profile whose image comes from the registry. */
async function offerImage({ guest, registry }: Setting): Promise<void> {
  const oci = `oci://${registry.host}/team/pulled:main`;
  await guest.succeed("push", [oci]);
  const profile = JSON.parse(await Deno.readTextFile(guest.profile));
  await Deno.writeTextFile(
    `${guest.directory}/pulled.json`,
    JSON.stringify({ ...profile, name: "pulled", image: { oci } }),
  );
}

export const subject: Subject = {
  about:
    "the host's clock is stepped back and forth, by seconds to a year, while a verb is at work; or it is another year",
  survived:
    "The command does what it does otherwise, and no sooner or later gives up. Then the guest's clock is the host's; `list`, `status`, " +
    "`snapshot ls`, `doctor` and `timeline` tell the right ages, and none of the future; ids are unique; nothing is lost.",
  full: { runs: 95, seconds: 1500 },
  ci: { runs: 2, seconds: 25 },
  async run({ seed: first, runs, tally }: Order) {
    if (Deno.build.os !== "linux") throw new Skipped("the clock is stepped by a library for Linux");
    await using guest = await secretMicro(ROTATE, undefined, { captured: true });
    await using clock = await HostClock.of(guest);
    await using registry = await RegistryServer.start();
    const setting = { guest, clock, registry, seen: new Map() };
    await offerImage(setting);
    await guest.start("--instance", KEPT);
    await guest.succeed("stop", ["--instance", KEPT]);
    await guest.start();
    await guest.succeed("snapshot save", [SAVED]);
    for (let seed = first; seed < first + runs; seed++) {
      const kind = KINDS[seed % KINDS.length];
      const verb = Object.keys(VERBS)[VERB_NAMES.indexOf(kind)];
      const work = () =>
        kind === MONTH ? monthLater(setting) : verb ? stepAround(setting, verb, seed) : year(setting, kind);
      if (await tally.run(verb ? `the clock is stepped ${kind}` : kind, seed, work)) continue;
      clock.set(Date.now());
      await guest.run("reset");
      await guest.run("reset", ["--instance", "new"]);
      await guest.run("reset", ["--instance", "other"]);
      await guest.run("snapshot rm", ["new"]);
    }
    clock.set(Date.now());
    await tally.run("a suspended instance and a checkpoint, after all of it", first, async () => {
      for (const args of [["--instance", KEPT], ["--instance", "copy", "--from", SAVED]]) {
        const { urls } = await guest.start(...args, "--no-fallback");
        await assertOnTime(setting, urls.web);
      }
    });
  },
};
