/** How long a source pauses for a fork, how soon the fork answers, and what many forks take. */

import { fork } from "../../lib/emulator/fork.ts";
import { openEmulator } from "../../lib/instance/emulator.ts";
import { GuestHome } from "../e2e/guest_home.ts";
import { type Bench, ratio, type Scale, seconds } from "./figure.ts";
import { fill } from "./memory.ts";

export const bench: Bench<Scale & { warmMiB: number; memory: number; forks: number; runs: number }> = {
  about: "forks: how long the source pauses, and what many at once take",
  full: { seconds: 150, warmMiB: 400, memory: 1024, forks: 8, runs: 3 },
  smoke: { seconds: 40, warmMiB: 32, memory: 192, forks: 2, runs: 1 },

  async measure({ warmMiB, memory, forks, runs }) {
    const still: number[] = [];
    const afterwards: number[] = [];
    {
      await using demo = await GuestHome.started({ guest: "demo" });
      for (let run = 0; run < runs; run++) {
        let running = NaN;
        const detail = (text: string) => text.endsWith(" runs on") && (running = performance.now());
        const report = { step() {}, detail, warn: console.warn, progress() {} };
        const { home, profile } = demo;
        const emulator = await openEmulator({ home, profile, instance: "second", report });
        const { stoodStillMs } = await fork(emulator, { keepSecrets: true });
        afterwards.push((performance.now() - running) / 1000);
        still.push(stoodStillMs / 1000);
        await demo.succeed("reset", ["--instance", "second"]);
      }
    }
    const many = await measureMany({ warmMiB, memory, forks, runs });
    const all = `${forks} at once`;
    return [
      {
        name: "a running demo pauses for its fork",
        unit: "s",
        value: max(still),
        target: { atMost: 0.6 },
        samples: { still },
      },
      {
        name: "the fork answers, after that",
        unit: "s",
        value: max(afterwards),
        target: { atMost: 1 },
        samples: { afterwards },
      },
      ratio(`forks of a checkpoint: ${all} ÷ one`, { [all]: many.all, one: many.one }, [all, "one"], { atMost: 4 }),
      {
        ...ratio(
          `their memory (PSS), with ${warmMiB} MiB warm: ${all} ÷ one`,
          { [all]: many.pssAll, one: many.pssOne },
          [all, "one"],
          { atMost: 2.5 },
        ),
        of: "MiB",
      },
    ];
  },
};

const max = (values: number[]) => Math.max(...values);

/** Forks of one checkpoint of a guest whose memory is warm, one alone and many at once. */
async function measureMany(
  { warmMiB, memory, forks, runs }: { warmMiB: number; memory: number; forks: number; runs: number },
): Promise<Record<"all" | "one" | "pssAll" | "pssOne", number[]>> {
  const measured = { all: [] as number[], one: [] as number[], pssAll: [] as number[], pssOne: [] as number[] };
  await using micro = await GuestHome.make({ memory, checks: [{ name: "filled", path: "/filled" }] });
  const over = new AbortController();
  const capturing = micro.succeed("capture");
  capturing.catch((error) => over.abort(error)); // otherwise the test would wait for the guest
  await Promise.all([capturing, fill(micro, warmMiB, over.signal)]);
  await micro.start("--no-fallback");
  await micro.succeed("snapshot save", ["warm"]);
  await micro.succeed("stop", ["--discard"]);
  const fork = (name: string) => micro.succeed("fork", ["warm", name]);
  const names = Array.from({ length: forks }, (_, index) => `fork-${index}`);
  for (let run = 0; run < runs; run++) {
    measured.one.push(await seconds(() => fork("alone")));
    measured.pssOne.push(await pss(micro, ["alone"]));
    await micro.succeed("reset", ["--instance", "alone"]);
    measured.all.push(await seconds(() => Promise.all(names.map(fork))));
    measured.pssAll.push(await pss(micro, names));
    for (const name of names) await micro.succeed("reset", ["--instance", name]);
  }
  return measured;
}

/** Reads all of what was filled. (`cat` would not: it tells the kernel to pass the pages on.) */
const READ = "for file in /tmp/fill/*; do dd if=$file of=/dev/null bs=1M || exit 1; done";

/**
 * What the QEMUs of the instances take together, in MiB, once their guests have read what was filled: a page that several have
 * read is shared out among them, and one that nobody has read takes nothing.
 */
async function pss(home: GuestHome, instances: string[]): Promise<number> {
  for (const instance of instances) {
    await home.succeed("exec", ["--instance", instance, "--", "sh", "-c", READ]);
  }
  const sizes = (await home.qemuProcesses()).map(async (pid) => {
    const text = await Deno.readTextFile(`/proc/${pid}/smaps_rollup`);
    return Number(text.match(/^Pss:\s+(\d+) kB/m)![1]) / 1024;
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
