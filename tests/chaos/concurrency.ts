/** Twenty commands at once, again and again: mixed verbs on the same and on different instances and profiles. */

import { assert, assertEquals } from "@std/assert";
import { sleep } from "../../lib/base/wait.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { assertCode, hotboot, type Run } from "../e2e/program.ts";
import { ARCH, CACHE } from "../e2e/qemu.ts";
import { freePort } from "../e2e/shared.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { random } from "../unit/random.ts";
import { agreedStates, assertAllKnown, assertSnapshots, machinesOf, repaired } from "./invariants.ts";
import { lastMessage, type Order, type Subject } from "./subject.ts";

const AT_ONCE = 20;
/** No command takes longer, however many wait for each other. */
const LONGEST_MS = 240_000;
/** A QEMU that is ending may still be there when the next one of its instance begins; not for longer. */
const OVERLAP_MS = 3000;
const LOOK_MS = 200;

/** The instances that the commands fight for; `second` is of the second profile. */
const INSTANCES = ["micro", "a", "b", "second"];

/** What must be true in the end, as far as the commands that succeeded decide it. Each name with the instance that it comes from. */
interface Expected {
  /** Checkpoints that were saved and not removed. */
  saved: Map<string, string>;
  /** Forks that were made and not dropped. */
  forks: Map<string, string>;
}

/** What a command is made of. */
interface Choice {
  /** An instance for it. */
  instance: string;
  /** A name that nobody else takes. */
  unique: string;
  expected: Expected;
  next: () => number;
  /** Where it may write. */
  directory: string;
}

interface Command {
  line: string[];
  /** The instance whose profile it has, if that is another. */
  of?: string;
  /** What its success changes. */
  then?: () => void;
  /** What its begin makes uncertain: another command may come before or after it. */
  before?: () => void;
}

type Making = (choice: Choice) => Command | undefined;

const on = (verb: string, ...rest: string[]): Making => ({ instance }) => ({
  line: [...verb.split(" "), "--instance", instance, ...rest],
});

/** One of the names, and where it comes from. */
type Named = Choice & { name: string; of: string };

function onOne(kind: keyof Expected, make: (named: Named) => Omit<Command, "of">): Making {
  return (choice) => {
    const all = [...choice.expected[kind]];
    const [name, of] = all[Math.floor(choice.next() * all.length)] ?? [];
    return name === undefined || of === undefined ? undefined : { of, ...make({ ...choice, name, of }) };
  };
}

/** Each as often as it is here. */
const COMMANDS: Making[] = [
  ...Array<Making>(5).fill(on("start")),
  ...Array<Making>(3).fill(on("stop")),
  on("stop --shutdown"),
  on("stop --discard"),
  on("restart"),
  on("reset"),
  ...Array<Making>(3).fill(on("status")),
  ...Array<Making>(3).fill(on("exec", "--", "cat", "/proc/uptime")),
  on("logs"),
  on("credentials"),
  on("timeline"),
  on("wait --timeout 5"),
  ({ instance }) => ({ line: ["run", "--fresh", "--", "true"], of: instance }),
  ({ instance }) => ({ line: ["list"], of: instance }),
  ({ instance }) => ({ line: ["doctor", "--fix"], of: instance }),
  ({ instance }) => ({ line: ["snapshot", "ls"], of: instance }),
  ({ instance }) => ({ line: ["snapshot", "prune"], of: instance }),
  ({ instance }) => ({ line: ["capture"], of: instance }),
  ({ instance, next }) => ({ line: ["spare", next() < 0.5 ? "0" : "1"], of: instance }),
  () => ({ line: ["build", "--force"], of: "second" }),
  ({ instance, unique, expected }) => ({
    line: ["snapshot", "save", unique, "--instance", instance],
    then: () => expected.saved.set(unique, instance),
  }),
  onOne("saved", ({ name, expected }) => ({
    line: ["snapshot", "rm", name],
    before: () => expected.saved.delete(name),
  })),
  onOne("saved", ({ name, of, unique, expected }) => ({
    line: ["snapshot", "rename", name, unique],
    before: () => expected.saved.delete(name),
    then: () => expected.saved.set(unique, of),
  })),
  onOne("saved", ({ name }) => ({ line: ["snapshot", "verify", name] })),
  onOne("saved", ({ name, unique, directory }) => ({
    line: ["snapshot", "export", name, `${directory}/${unique}.hotboot`],
  })),
  onOne("saved", ({ name, of, unique, expected }) => ({
    line: ["start", "--from", name, "--instance", `f-${unique}`],
    then: () => expected.forks.set(`f-${unique}`, of),
  })),
  ({ instance, unique, expected }) => ({
    line: ["fork", instance, `f-${unique}`],
    then: () => expected.forks.set(`f-${unique}`, instance),
  }),
  ...Array<Making>(2).fill(onOne("forks", ({ name, expected }) => ({
    line: ["reset", "--instance", name],
    before: () => expected.forks.delete(name),
  }))),
];

/** A home with two profiles, each with a snapshot. */
async function twoProfiles(): Promise<{ guest: GuestHome; profileOf: (instance: string) => string }> {
  const guest = await secretMicro(ROTATE, undefined, { captured: true });
  const second = `${guest.directory}/second.json`;
  const script = `${guest.directory}/build.sh`;
  const from = `${CACHE}/images/micro-${ARCH}`;
  await Deno.writeTextFile(
    script,
    `for part in kernel initrd; do cp "${from}.$part" "$1/$part"; done\nqemu-img convert -c -O qcow2 "${from}.qcow2" "$1/disk.qcow2"\n`,
  );
  const profile = JSON.parse(await Deno.readTextFile(guest.profile));
  profile.ports.web.host = freePort();
  const image = { build: { script, inputs: [script] } };
  await Deno.writeTextFile(second, JSON.stringify({ ...profile, name: "second", image }));
  assertCode(await hotboot(["capture", "--home", guest.home, "--profile", second]), 0);
  return { guest, profileOf: (instance) => instance === "second" ? second : guest.profile };
}

/** Ends as it should: with success, or with one clear line. */
export function assertClear({ code, stderr }: Run, verb: string): void {
  assert(code === 0 || code === 1, `exit code ${code}: ${stderr}`);
  const [last = ""] = stderr.trimEnd().split("\n").slice(-1);
  const isClear = /^hotboot: \S/.test(last) &&
    !/TypeError|ReferenceError|RangeError|os error|\bundefined\b|does not have/.test(stderr);
  const tellsByCode = verb === "status" || verb === "doctor"; // whether it runs; whether it would start
  assert(code === 0 || isClear || tellsByCode, `no clear message: ${stderr}`);
}

/** Looks all the time whether an instance has two machines. */
async function watch(guest: GuestHome, signal: AbortSignal): Promise<void> {
  const since = new Map<string, number>();
  while (!signal.aborted) {
    const seen = new Map<string, number>();
    for (const { name } of await machinesOf(guest)) seen.set(name, (seen.get(name) ?? 0) + 1);
    for (const name of since.keys()) if ((seen.get(name) ?? 0) < 2) since.delete(name);
    for (const [name, count] of seen) {
      if (count < 2) continue;
      const begin = since.get(name) ?? performance.now();
      since.set(name, begin);
      assert(performance.now() - begin < OVERLAP_MS, `${name} runs ${count} times`);
    }
    await sleep(LOOK_MS);
  }
}

export const subject: Subject = {
  survived:
    "Each command works, or ends with one clear line; no instance has two machines; in the end all agree, each instance starts and serves its own secret, and no checkpoint or fork that was made is lost.",
  about: `${AT_ONCE} commands at once on four instances of two profiles (\`--runs\`: seconds)`,
  full: { runs: 300, seconds: 330 },
  ci: { runs: 12, seconds: 40 },
  async run({ seed: first, runs, tally }: Order) {
    const { guest: made, profileOf } = await twoProfiles();
    await using guest = made;
    const { directory } = guest;
    const expected: Expected = { saved: new Map(), forks: new Map() };
    const over = new AbortController();
    const watching = tally.run("two machines for one instance", first, () => watch(guest, over.signal));
    const end = performance.now() + runs * 1000;
    let seed = first;
    const lane = async () => {
      while (performance.now() < end) {
        const unique = `n${seed++}`;
        const next = random(seed);
        const instance = INSTANCES[Math.floor(next() * INSTANCES.length)];
        const choice = { instance, unique, expected, next, directory };
        const command = COMMANDS[Math.floor(next() * COMMANDS.length)](choice);
        if (!command) continue;
        const { line, of = instance, then, before } = command;
        before?.();
        const place = ["--home", guest.home, "--profile", profileOf(of)];
        const at = line.indexOf("--");
        const args = line.toSpliced(at < 0 ? line.length : at, 0, ...place);
        const verb = line.slice(0, line[0] === "snapshot" ? 2 : 1).join(" ");
        await tally.run(verb, seed, async () => {
          const run = await Promise.race([hotboot(args), sleep(LONGEST_MS).then(() => undefined)]);
          if (!run) throw new Error(`it does not end: ${line.join(" ")}`);
          assertClear(run, verb);
          if (run.code === 0) then?.();
          if (run.code === 0) return "it works";
          return lastMessage(run.stderr).replaceAll(/ --(profile|home) [^\s']+/g, "") ||
            "the exit code says that it does not run";
        });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    over.abort();
    await watching;
    await tally.run("afterwards", first, async () => {
      await assertAllKnown(guest);
      const states = await agreedStates(guest);
      for (const name of expected.forks.keys()) assert(states.has(name), `the fork '${name}' is gone`);
      for (const [name, profile] of [["", guest.profile], ["second", profileOf("second")]]) {
        const own = [...expected.saved].filter(([, of]) => (of === "second") === (name === "second"));
        const all = await assertSnapshots({
          succeed: async (verb: string, args: string[] = []) => {
            const run = await hotboot([...verb.split(" "), ...args, "--home", guest.home, "--profile", profile]);
            assertCode(run, 0);
            return run.stdout;
          },
        });
        for (const [saved] of own) assert(all.some(({ name }) => name === saved), `checkpoint ${saved} is gone`);
      }
      for (const instance of INSTANCES) {
        const common = ["--instance", instance, "--home", guest.home, "--profile", profileOf(instance)];
        assertCode(await hotboot(["start", ...common]), 0);
        const { TOKEN } = JSON.parse((await hotboot(["credentials", "--json", ...common])).stdout);
        const { running } = JSON.parse((await hotboot(["status", "--json", ...common])).stdout);
        const served = await (await fetch(`${running.urls.web}/token`)).text();
        assertEquals(served.trim(), TOKEN, `the secret of ${instance}`);
      }
      const left = (await repaired(guest)).filter(({ id }) => id.startsWith("instance.") || id.startsWith("process."));
      assertEquals(left, []);
    });
    for (const { instance, profile } of (await agreedStates(guest)).values()) {
      await hotboot(["reset", "--home", guest.home, "--profile", profileOf(profile ?? ""), "--instance", instance]);
    }
  },
};
