/** Capture, resume and continuing take no longer with more RAM, and a suspension takes as long as its disk. */

import type { StartResult } from "../../lib/emulator/start.ts";
import type { Phase } from "../../lib/base/timeline.ts";
import { GuestAgent } from "../../lib/vm/guest_agent.ts";
import { sleep } from "../../lib/base/wait.ts";
import { GuestHome } from "../e2e/guest_home.ts";
import { type Bench, median, ratio, type Scale, seconds } from "./figure.ts";
import { MIB, output } from "./programs.ts";

/** A guest's RAM, and how much of it the guest has touched, in MiB. */
export interface Ram {
  memory: number;
  touched: number;
}

/** Like the stack. */
export const LARGE: Ram = { memory: 4096, touched: 2560 };

export const bench: Bench<Scale & { small: Ram; large: Ram; captures: number; runs: number }> = {
  about: "whether capturing, resuming and continuing take longer with more RAM, and what suspending takes",
  full: { seconds: 280, small: { memory: 512, touched: 0 }, large: LARGE, captures: 3, runs: 7 },
  smoke: {
    seconds: 30,
    small: { memory: 192, touched: 0 },
    large: { memory: 320, touched: 128 },
    captures: 1,
    runs: 1,
  },

  async measure(scale) {
    const [small, large] = [nameOf(scale.small), nameOf(scale.large)];
    const ofSmall = await measure(scale.small, { engine: "instant", ...scale });
    const ofLarge = await measure(scale.large, { engine: "instant", ...scale });
    const incoming = { [large]: ofLarge.incoming, [small]: ofSmall.incoming };
    const capture = { [large]: ofLarge.capture, [small]: ofSmall.capture };
    return [
      ratio(`incoming: ${large} ÷ ${small}`, incoming, [large, small], { atMost: 1.5 }),
      {
        name: "capture, from healthy to snapshot in place",
        unit: "s",
        value: Math.max(...Object.values(capture).map(median)),
        target: { atMost: 0.3 },
        samples: capture,
      },
      ratio(`capture: ${large} ÷ ${small}`, capture, [large, small], { atMost: 1.5 }),
      ratio(
        `continuing a suspended instance, incoming: ${large} ÷ ${small}`,
        { [large]: ofLarge.suspended.incoming, [small]: ofSmall.suspended.incoming },
        [large, small],
        { atMost: 1.5 },
      ),
      ratio("stop ÷ dd of as many bytes", ofLarge.suspended, ["stop", "dd"], { atMost: 1.5 }),
      {
        name: "hotboot's own peak memory while it suspends",
        unit: "MiB",
        value: Math.max(...ofLarge.suspended.peak),
        target: { atMost: 150 },
        samples: { peak: ofLarge.suspended.peak },
      },
    ];
  },
};

/** Its name for people. */
export function nameOf({ memory, touched }: Ram): string {
  const size = (mebibytes: number) => mebibytes < 1024 ? `${mebibytes} MiB` : `${mebibytes / 1024} GiB`;
  return size(memory) + (touched > 0 ? `, ${size(touched)} touched` : "");
}

/** What was measured in each run, in seconds. */
export interface Measured {
  /** From the first healthy moment to the snapshot in place. */
  capture: number[];
  /** The part of that after the guest's stop. */
  saving: number[];
  /** The part of a resume that reads the snapshot. */
  incoming: number[];
  /** Of an instance that is suspended and continues; `peak` in MiB. */
  suspended: Record<"stop" | "dd" | "incoming" | "peak", number[]>;
}

/** Captures a guest that has touched its RAM, several times, and resumes the last snapshot. */
export async function measure(
  { memory, touched }: Ram,
  { engine, qemu, captures, runs }: { engine: string; qemu?: string; captures: number; runs: number },
): Promise<Measured> {
  // The capture waits for a page that appears when the guest's memory is filled.
  await using micro = await GuestHome.make({
    qemu,
    memory,
    checks: [{ name: "filled", path: "/filled" }],
    change: ({ timeouts }) => {
      timeouts.boot = 600; // it includes the filling
    },
  });
  const suspended: Measured["suspended"] = { stop: [], dd: [], incoming: [], peak: [] };
  const measured: Measured = { capture: [], saving: [], incoming: [], suspended };
  const { capture, saving, incoming } = measured;
  for (let run = 0; run < captures; run++) {
    const over = new AbortController();
    const capturing = micro.succeed("capture", ["--force", "--json", "--engine", engine]);
    capturing.catch((error) => over.abort(error)); // otherwise the test would wait for the guest
    const [stdout] = await Promise.all([capturing, fill(micro, touched, over.signal)]);
    const phases: Phase[] = JSON.parse(stdout).timeline;
    const { startMs, endMs } = phaseOf(phases, "capture");
    capture.push((endMs - phaseOf(phases, "healthy").endMs) / 1000);
    saving.push((endMs - startMs) / 1000);
  }
  const start = async (): Promise<StartResult> => JSON.parse(await micro.succeed("start", ["--json", "--no-fallback"]));
  for (let run = 0; run < runs; run++) {
    const { startMs, endMs } = phaseOf((await start()).timeline, "incoming");
    incoming.push((endMs - startMs) / 1000);
    await micro.succeed("stop", ["--discard"]);
  }
  await start();
  for (let run = 0; run < captures; run++) {
    const stopping = micro.spawn("stop");
    suspended.stop.push(await seconds(async () => void suspended.peak.push(await peakUntilEnd(stopping))));
    const files = ["memory.ram", "memory.state"].map((name) => Deno.stat(`${micro.instance}/${name}`));
    const bytes = (await Promise.all(files)).reduce((sum, { blocks }) => sum + blocks! * 512, 0);
    const copy = `${micro.directory}/dd`;
    const dd = ["if=/dev/zero", `of=${copy}`, "bs=1M", `count=${Math.round(bytes / MIB)}`, "conv=fsync"];
    suspended.dd.push(await seconds(() => output("dd", ...dd)));
    await Deno.remove(copy);
    const { startMs, endMs } = phaseOf((await start()).timeline, "incoming");
    suspended.incoming.push((endMs - startMs) / 1000);
  }
  return measured;
}

/** A program's peak memory in MiB, as seen before it ends. */
async function peakUntilEnd(child: Deno.ChildProcess): Promise<number> {
  let [peak, isOver] = [0, false];
  const ended = child.output().then(({ success }) => {
    isOver = true;
    if (!success) throw new Error("it failed");
  });
  while (!isOver) {
    const status = await Deno.readTextFile(`/proc/${child.pid}/status`).catch(() => "");
    peak = Math.max(peak, Number(status.match(/VmHWM:\s+(\d+) kB/)?.[1] ?? 0) / 1024);
    await Promise.race([ended, sleep(20)]);
  }
  await ended;
  return peak;
}

/** Fills this many MiB of the guest's RAM with incompressible bytes, on two CPUs, then makes the page. */
const FILL = `
  set -e
  head -c 16777216 /dev/urandom >/tmp/part
  mkdir /tmp/fill
  mount -t tmpfs -o huge=always,size=90% fill /tmp/fill
  half() { for part in $(seq $(($2 / 32))); do cat /tmp/part; done >/tmp/fill/$1; }
  half 1 $1 &
  half 2 $1
  wait $!
  echo yes >/www/filled`;

/** Makes the guest do that as soon as it is up. Its end cannot be awaited, because the capture ends it all. */
export async function fill(micro: GuestHome, touched: number, signal: AbortSignal): Promise<void> {
  while (!await micro.health().then(() => true, () => false)) await sleep(100, signal);
  await using agent = await GuestAgent.connect(micro.socket("agent"));
  await agent.spawn({ path: "sh", args: ["-c", FILL, "sh", String(touched)] });
}

function phaseOf(phases: Phase[], name: string): Phase {
  return phases.find((phase) => phase.name === name)!;
}
