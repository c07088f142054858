/** Making ISO images, against the two usual programs. */

import { ensureDir } from "@std/fs/ensure-dir";
import { assertCode, hotboot } from "../e2e/program.ts";
import { type Bench, type Figure, median, ratio, type Scale, seconds } from "./figure.ts";
import { MIB, output, peakOf, writeNoise } from "./programs.ts";

interface Sizes extends Scale {
  runs: number;
  /** MiB in 20 files. */
  large: number;
  /** How many small files. */
  small: number;
  /** MiB in one file. */
  peak: number;
}

export const bench: Bench<Sizes> = {
  about: "making ISO images, against genisoimage and xorriso",
  full: { seconds: 240, runs: 9, large: 1024, small: 20_000, peak: 6 * 1024 },
  smoke: { seconds: 5, runs: 1, large: 8, small: 400, peak: 64 },

  async measure({ runs, large, small, peak }) {
    // Not in memory, which is below /dev, where hotboot's commands cannot open files.
    const directory = await Deno.makeTempDir({ prefix: "hotboot-bench-" });
    try {
      await makeFiles(`${directory}/large`, 20, () => large * MIB / 20);
      await makeFiles(`${directory}/small`, small, (at) => 100 + (at % 200) * 37);
      return [
        await compare(`iso: ${large} MiB in 20 files`, `${directory}/large`, runs),
        await compare(`iso: ${small} small files`, `${directory}/small`, runs),
        await peakMemory(directory, peak),
      ];
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
};

/** Files with names of some length in directories of 200. */
async function makeFiles(root: string, count: number, sizeOf: (at: number) => number): Promise<void> {
  for (let at = 0; at < count; at++) {
    const directory = `${root}/directory-${Math.floor(at / 200)}`;
    if (at % 200 === 0) await ensureDir(directory);
    await writeNoise(`${directory}/file number ${at}.txt`, sizeOf(at));
  }
}

/** hotboot's time ÷ the faster program's. */
async function compare(name: string, tree: string, runs: number): Promise<Figure> {
  const image = `${tree}.iso`;
  const programs: Record<string, () => Promise<unknown>> = {
    hotboot: async () => assertCode(await hotboot(["iso", "create", "-q", "-o", image, tree]), 0),
    genisoimage: () => output("genisoimage", "-quiet", "-J", "-R", "-o", image, tree),
    xorriso: () => output("xorriso", "-as", "mkisofs", "-quiet", "-J", "-R", "-o", image, tree),
  };
  const samples: Record<string, number[]> = {};
  for (let run = 0; run < runs; run++) {
    for (const [program, make] of Object.entries(programs)) {
      await output("sync"); // otherwise the disk, still busy with the last image, would decide
      (samples[program] ??= []).push(await seconds(make));
      await Deno.remove(image);
    }
  }
  const fastest = median(samples.genisoimage) < median(samples.xorriso) ? "genisoimage" : "xorriso";
  return ratio(`${name}: hotboot ÷ the faster of genisoimage and xorriso`, samples, ["hotboot", fastest], {
    atMost: 1,
  });
}

/** What the writer adds to the runtime's peak memory. */
async function peakMemory(directory: string, size: number): Promise<Figure> {
  const [source, image] = [`${directory}/source`, `${directory}/image.iso`];
  await Deno.writeFile(source, new Uint8Array());
  await Deno.truncate(source, size * MIB);
  const samples = { image: [await peakOf("iso", source, image)], runtime: [await peakOf("iso")] };
  return {
    name: `iso: peak memory for ${size} MiB, beyond the runtime's`,
    unit: "MiB",
    value: samples.image[0] - samples.runtime[0],
    target: { atMost: 100 },
    samples,
  };
}
