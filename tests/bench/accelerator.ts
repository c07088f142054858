/**
 * What it costs to find out which accelerator works: a start that remembers nothing, against one that remembers; and that
 * one against a start with the accelerator that a person has named, for which nothing is tried where it emulates.
 */

import { ARCH, GuestHome, newerQemu, QEMU } from "../e2e/harness.ts";
import { type Bench, type Figure, median, ratio, type Scale, seconds } from "./figure.ts";
import { output } from "./programs.ts";

const [FIRST, LATER, NAMED] = ["nothing remembered", "remembered", "named"];

export const bench: Bench<Scale & { runs: number }> = {
  about: "what finding out which accelerator works adds to the first start, and to later ones",
  full: { seconds: 120, runs: 15 },
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
    for (const [way, work] of Object.entries(ways)) {
      const took = await work();
      await micro.succeed("stop", ["--discard"]);
      if (run > 0) samples[way].push(took); // in the first round, the named one is asked for the first time, too
    }
  }
  const { [FIRST]: first, [LATER]: later } = samples;
  return [
    {
      name: `QEMU ${version}: what finding out which accelerator works adds, once (it is ${accelerator})`,
      unit: "s",
      value: median(first) - median(later),
      target: { atMost: 0.5 },
      samples: { [FIRST]: first, [LATER]: later },
    },
    ratio(`QEMU ${version}: a start that remembers it ÷ one with a named accelerator`, samples, [LATER, NAMED], {
      atMost: 1.02,
    }),
  ];
}
