/** Making ISO images, against the two programs that are used for it. */

import { ensureDir } from "@std/fs/ensure-dir";
import { fromFileUrl } from "@std/path/from-file-url";
import { importArguments } from "../../dev/deno.ts";
import { assertCode, hotboot } from "../e2e/harness.ts";
import { type Bench, type Figure, median, seconds } from "./figure.ts";

const RUNS = 9;
const MIB = 2 ** 20;

export const bench: Bench = async () => {
  const input = await Deno.makeTempDir({ prefix: "hotboot-bench-" });
  // Images go to memory where there is room: a disk that is still busy with the last image would decide.
  const output = await Deno.makeTempDir({
    dir: await hasMemoryDisk() ? "/dev/shm" : undefined,
    prefix: "hotboot-bench-",
  });
  try {
    await makeFiles(`${input}/large`, 20, () => 1024 * MIB / 20);
    await makeFiles(`${input}/small`, 20_000, (at) => 100 + (at % 200) * 37);
    return [
      await compare("iso: 1 GiB in 20 files", `${input}/large`, output),
      await compare("iso: 20,000 small files", `${input}/small`, output),
      await peakMemory(input),
    ];
  } finally {
    for (const directory of [input, output]) await Deno.remove(directory, { recursive: true });
  }
};

async function hasMemoryDisk(): Promise<boolean> {
  const { stdout } = await new Deno.Command("df", { args: ["--output=avail", "/dev/shm"], stderr: "null" }).output();
  return Number(new TextDecoder().decode(stdout).split("\n")[1] ?? 0) > 2 * MIB; // in KiB
}

/** Files with names of some length in directories of 200. */
async function makeFiles(root: string, count: number, sizeOf: (at: number) => number): Promise<void> {
  const block = new Uint8Array(MIB);
  for (let at = 0; at < block.length; at += 65536) crypto.getRandomValues(block.subarray(at, at + 65536));
  for (let at = 0; at < count; at++) {
    const directory = `${root}/directory-${Math.floor(at / 200)}`;
    if (at % 200 === 0) await ensureDir(directory);
    using file = await Deno.open(`${directory}/file number ${at}.txt`, { write: true, create: true });
    for (let left = Math.floor(sizeOf(at)); left > 0;) left -= await file.write(block.subarray(0, left));
  }
}

/** hotboot's time ÷ that of the faster of the two. */
async function compare(name: string, tree: string, output: string): Promise<Figure> {
  const image = `${output}/image.iso`;
  const programs: Record<string, () => Promise<unknown>> = {
    hotboot: async () => assertCode(await hotboot(["iso", "create", "-q", "-o", image, tree]), 0),
    genisoimage: () => run("genisoimage", ["-quiet", "-J", "-R", "-o", image, tree]),
    xorriso: () => run("xorriso", ["-as", "mkisofs", "-quiet", "-J", "-R", "-o", image, tree]),
  };
  const samples: Record<string, number[]> = {};
  for (let round = 0; round < RUNS; round++) {
    for (const [program, make] of Object.entries(programs)) {
      (samples[program] ??= []).push(await seconds(make));
      await Deno.remove(image);
    }
  }
  const fastest = Math.min(median(samples.genisoimage), median(samples.xorriso));
  return {
    name: `${name}: hotboot ÷ the faster of genisoimage and xorriso`,
    unit: "ratio",
    value: median(samples.hotboot) / fastest,
    target: { atMost: 1 },
    samples,
  };
}

async function run(program: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, stdout: "null" }).output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
}

/** What the writer adds to the peak of the runtime's memory. */
async function peakMemory(directory: string): Promise<Figure> {
  const source = `${directory}/source`;
  await Deno.writeFile(source, new Uint8Array());
  await Deno.truncate(source, 6 * 1024 * MIB);
  const peak = async (what: string[]) => {
    const { stdout, success } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "-q",
        ...await importArguments(),
        fromFileUrl(new URL("iso_peak.ts", import.meta.url)),
        ...what,
      ],
    }).output();
    if (!success) throw new Error("iso_peak.ts failed");
    return Number(new TextDecoder().decode(stdout));
  };
  const samples = {
    "6 GiB image": [await peak([source, `${directory}/image.iso`])],
    "runtime": [await peak([])],
  };
  await Deno.remove(`${directory}/image.iso`);
  const value = samples["6 GiB image"][0] - samples.runtime[0];
  return {
    name: "iso: peak memory for 6 GiB, beyond the runtime's",
    unit: "MiB",
    value,
    target: { atMost: 100 },
    samples,
  };
}
