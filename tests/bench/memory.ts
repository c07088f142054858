/** That neither capture nor resume takes longer with more RAM. */

import type { StartResult } from "../../lib/emulator/start.ts";
import type { Phase } from "../../lib/base/timeline.ts";
import { GuestAgent } from "../../lib/vm/guest_agent.ts";
import { sleep } from "../../lib/base/wait.ts";
import { GuestHome } from "../e2e/harness.ts";
import { type Bench, median, ratio, type Scale } from "./figure.ts";

/** A guest's RAM, and how much of it the guest has written to; in MiB. */
export interface Ram {
  memory: number;
  touched: number;
}

/** As the stack has it. */
export const LARGE: Ram = { memory: 4096, touched: 2560 };

export const bench: Bench<Scale & { small: Ram; large: Ram; captures: number; runs: number }> = {
  about: "that neither capture nor resume takes longer with more RAM",
  full: { seconds: 200, small: { memory: 512, touched: 0 }, large: LARGE, captures: 3, runs: 7 },
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
    ];
  },
};

/** In a person's words. */
export function nameOf({ memory, touched }: Ram): string {
  const size = (mebibytes: number) => mebibytes < 1024 ? `${mebibytes} MiB` : `${mebibytes / 1024} GiB`;
  return size(memory) + (touched > 0 ? `, ${size(touched)} touched` : "");
}

/** What was measured of each run, in seconds. */
export interface Measured {
  /** From the first time that all was healthy to the snapshot in place. */
  capture: number[];
  /** Of that, from the guest's stop on. */
  saving: number[];
  /** Of a resume, what it takes to read the snapshot. */
  incoming: number[];
}

/** Captures a guest that has written to its RAM, several times, and resumes the last one. */
export async function measure(
  { memory, touched }: Ram,
  { engine, qemu, captures, runs }: { engine: string; qemu?: string; captures: number; runs: number },
): Promise<Measured> {
  // Capturing waits for a page that is made when the guest's memory is full.
  await using micro = await GuestHome.make({
    qemu,
    memory,
    checks: [{ name: "filled", path: "/filled" }],
    change: ({ machine, timeouts }) => {
      timeouts.boot = 600; // it includes the filling
      machine.append = `${machine.append} ${WORDS_NOT_BYTES}`;
    },
  });
  const measured: Measured = { capture: [], saving: [], incoming: [] };
  const { capture, saving, incoming } = measured;
  for (let run = 0; run < captures; run++) {
    const over = new AbortController();
    const capturing = micro.succeed("capture", ["--force", "--json", "--engine", engine]);
    capturing.catch((error) => over.abort(error)); // else the guest would be waited for
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
  return measured;
}

/**
 * For Linux on x86: copies 8 bytes at a time. It would rather have the CPU repeat an instruction for each byte where that
 * says it is fast (`erms`), which an emulated CPU says, too, and then takes several times as long to fill its memory.
 */
const WORDS_NOT_BYTES = "clearcpuid=erms,fsrm";

/** Fills so many MiB of the guest's RAM with what does not compress, on two CPUs, then says so. */
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

/** Has the guest do that as soon as it is up; the end of that cannot be awaited, since the capture ends it all. */
async function fill(micro: GuestHome, touched: number, signal: AbortSignal): Promise<void> {
  while (!await micro.health().then(() => true, () => false)) await sleep(100, signal);
  await using agent = await GuestAgent.connect(micro.socket("agent"));
  await agent.spawn({ path: "sh", args: ["-c", FILL, "sh", String(touched)] });
}

function phaseOf(phases: Phase[], name: string): Phase {
  return phases.find((phase) => phase.name === name)!;
}
