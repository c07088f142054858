/**
 * What it costs to find out which accelerator works: a start that remembers nothing, against one that remembers, and
 * that one against a start with a named accelerator. If QEMU refuses this host's accelerator, none of
 * these tries it with a guest, so the trial is also measured by itself, with an accelerator that is barely fast enough.
 */

import { onPath } from "../../lib/base/on_path.ts";
import { slowdown } from "../../lib/vm/accelerator.ts";
import { accelerationGuest } from "../../lib/vm/accelerator_guest.ts";
import { probeQemu } from "../../lib/vm/probe.ts";
import { GuestHome } from "../e2e/guest_home.ts";
import { ARCH, newerQemu, QEMU } from "../e2e/qemu.ts";
import { type Bench, type Figure, median, ratio, type Scale, seconds } from "./figure.ts";
import { output } from "./programs.ts";

const [FIRST, LATER, NAMED] = ["nothing remembered", "remembered", "named"];

export const bench: Bench<Scale & { runs: number }> = {
  about: "what finding out which accelerator works adds to the first start, and to later ones",
  full: { seconds: 150, runs: 16 },
  smoke: { seconds: 30, runs: 1 },

  async measure({ runs }) {
    const figures: Figure[] = [];
    for (const qemu of new Set([QEMU[ARCH], await newerQemu()])) figures.push(...await measureOn(qemu, runs));
    return figures;
  },
};

async function measureOn(qemu: string, runs: number): Promise<Figure[]> {
  const [, version] = (await output(qemu, "--version")).match(/version ([\d.]+)/)!;
  await using micro = await GuestHome.make({ qemu });
  await micro.succeed("capture");
  const { accelerator } = (await micro.status()).acceleration!;
  const start = (env: Record<string, string>) =>
    seconds(() => micro.succeed("start", ["--no-fallback", "--quiet"], { env }));
  const ways: Record<string, () => Promise<number>> = {
    [FIRST]: async () => {
      await Deno.remove(`${micro.home}/cache/qemu-${ARCH}.json`);
      return await start({ HOTBOOT_ACCEL: "" });
    },
    [LATER]: () => start({ HOTBOOT_ACCEL: "" }),
    [NAMED]: () => start({ HOTBOOT_ACCEL: accelerator }),
  };
  const samples: Record<string, number[]> = { [FIRST]: [], [LATER]: [], [NAMED]: [] };
  for (let run = 0; run <= runs; run++) {
    const order = Object.entries(ways);
    if (run % 2 === 0) order.reverse(); // so that none always follows the same other one
    for (const [way, work] of order) {
      const took = await work();
      await micro.succeed("stop", ["--discard"]);
      if (run > 0) samples[way].push(took); // in the first round, the named one is also probed for the first time
    }
  }
  const { [FIRST]: first, [LATER]: later } = samples;
  const trials = await tryEmulation(micro, runs);
  return [
    {
      name: `QEMU ${version}: what finding out which accelerator works adds, once (it is ${accelerator})`,
      unit: "s",
      value: median(first) - median(later),
      target: { atMost: 0.5 },
      samples: { [FIRST]: first, [LATER]: later },
    },
    {
      name: `QEMU ${version}: trying emulation, and what is as slow`,
      unit: "s",
      value: median(trials),
      target: { atMost: 0.5 },
      samples: { trials },
    },
    ratio(`QEMU ${version}: a start that remembers it ÷ one with a named accelerator`, samples, [LATER, NAMED], {
      atMost: 1.02,
    }),
  ];
}

/** Seconds that the guest's work takes under emulation, and once more as if emulation were the hardware. */
async function tryEmulation({ qemu, directory }: GuestHome, runs: number): Promise<number[]> {
  const program = qemu.includes("/") ? qemu : (await onPath(qemu))!;
  const guest = `${directory}/guest`;
  await Deno.writeFile(guest, accelerationGuest(ARCH));
  const cache = { facts: `${directory}/facts.json`, guest };
  const { machineType, accelerator, cpuModel } = await probeQemu(program, ARCH, cache, { accelerator: "tcg" });
  const emulation = { program, arch: ARCH, machine: machineType, accelerator, cpuModel };
  const trials: number[] = [];
  for (let run = 0; run < runs; run++) {
    trials.push(
      await seconds(async () => {
        const factor = await slowdown(emulation, emulation, guest);
        if (factor === undefined) throw new Error(`${program} does not run the guest by emulation`);
      }),
    );
  }
  return trials;
}
