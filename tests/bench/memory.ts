/** That neither capture nor resume takes longer with more RAM. */

import type { StartResult } from "../../lib/emulator/start.ts";
import type { Phase } from "../../lib/emulator/timeline.ts";
import { GuestAgent } from "../../lib/vm/guest_agent.ts";
import { sleep } from "../../lib/wait.ts";
import { assertCode, GuestHome, qemuEnv } from "../e2e/harness.ts";
import { type Bench, median, ratio } from "./figure.ts";

const RUNS = 7;
const CAPTURES = 5;
const SMALL = "512 MiB";
export const LARGE = "4 GiB, 2.5 GiB touched";
/** Fills so many MiB of the guest's RAM with what does not compress, then says so. */
const FILL = `
  mount -o remount,size=90% /tmp
  head -c 16777216 /dev/urandom >/tmp/part
  for part in $(seq $(($1 / 16))); do cat /tmp/part; done >/tmp/fill
  echo yes >/www/filled`;

export const bench: Bench = async () => {
  const small = await measure(512, 0, "instant");
  const large = await measure(4096, 2560, "instant");
  const incoming = { [LARGE]: large.incoming, [SMALL]: small.incoming };
  const capture = { [LARGE]: large.capture, [SMALL]: small.capture };
  return [
    ratio(`incoming: ${LARGE} ÷ ${SMALL}`, incoming, [LARGE, SMALL], { atMost: 1.5 }),
    {
      name: "capture, from healthy to snapshot in place",
      unit: "s",
      value: Math.max(...Object.values(capture).map(median)),
      target: { atMost: 0.3 },
      samples: capture,
    },
    ratio(`capture: ${LARGE} ÷ ${SMALL}`, capture, [LARGE, SMALL], { atMost: 1.5 }),
  ];
};

/** Captures a guest that has written to `touchedMiB` of its RAM, several times, and resumes the last one. */
export async function measure(
  memory: number,
  touchedMiB: number,
  engine: string,
  { qemu, captures = CAPTURES, runs = RUNS }: { qemu?: string; captures?: number; runs?: number } = {},
): Promise<{ capture: number[]; saving: number[]; incoming: number[] }> {
  const options = qemu ? { env: qemuEnv(qemu) } : {};
  // Capturing waits for a page that is made when the guest's memory is full.
  await using micro = await GuestHome.make({
    memory,
    checks: [{ name: "filled", path: "/filled" }],
    change: (profile) => profile.timeouts.boot = 240,
  });
  const [capture, saving]: [number[], number[]] = [[], []];
  for (let run = 0; run < captures; run++) {
    const captured = micro.run("capture", ["--force", "--json", "--engine", engine], options);
    while (!await micro.health().then(() => true, () => false)) await sleep(100);
    {
      await using agent = await GuestAgent.connect(micro.socket("agent"));
      await agent.spawn({ path: "sh", args: ["-c", FILL, "sh", String(touchedMiB)] }); // its end cannot be awaited: the capture ends it all
    }
    const result = await captured;
    assertCode(result, 0);
    const phases: Phase[] = JSON.parse(result.stdout).timeline;
    const { startMs, endMs } = phaseOf(phases, "capture");
    capture.push((endMs - phaseOf(phases, "healthy").endMs) / 1000);
    saving.push((endMs - startMs) / 1000);
  }
  const incoming: number[] = [];
  const start = async (): Promise<StartResult> =>
    JSON.parse(await micro.succeed("start", ["--json", "--no-fallback"], options));
  for (let run = 0; run < runs; run++) {
    const { startMs, endMs } = phaseOf((await start()).timeline, "incoming");
    incoming.push((endMs - startMs) / 1000);
    await micro.succeed("stop", ["--discard"]);
  }
  return { capture, saving, incoming };
}

function phaseOf(phases: Phase[], name: string): Phase {
  return phases.find((phase) => phase.name === name)!;
}
