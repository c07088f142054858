/** Compressing what is like a VM's RAM, against the `zstd` tool. */

import { exists } from "@std/fs/exists";
import { walk } from "@std/fs/walk";
import { fromFileUrl } from "@std/path/from-file-url";
import { importArguments } from "../../dev/deno.ts";
import { random } from "../unit/random.ts";
import { type Bench, type Figure, median, seconds } from "./figure.ts";

const RUNS = 7;
const MIB = 2 ** 20;
const PAGE = 4096;
const SIZE = 4096 * MIB;
const TOUCHED = 2560 * MIB;

export const bench: Bench = async () => {
  // In memory where there is room: a disk that is still busy with the last file would decide.
  const dir = await exists("/dev/shm") ? "/dev/shm" : undefined;
  const directory = await Deno.makeTempDir({ dir, prefix: "hotboot-bench-" });
  const [raw, ours, tools, back] = ["raw", "ours.zst", "tools.zst", "back"].map((name) => `${directory}/${name}`);
  try {
    await makeMemory(raw);
    const script = fromFileUrl(new URL("zstd_once.ts", import.meta.url));
    const hotboot = async (...args: string[]) =>
      Number(await output(Deno.execPath(), ["run", "-A", "-q", ...await importArguments(), script, ...args]));
    const memory: Record<string, number[]> = { compress: [], decompress: [], "decompress the tool's": [] };
    const packing: Record<string, number[]> = { zstd: [], hotboot: [] };
    const unpacking: Record<string, number[]> = { zstd: [], hotboot: [] };
    const unpackingTools: Record<string, number[]> = { zstd: [], hotboot: [] };
    const unpack = async (from: string, samples: Record<string, number[]>, peaks: number[]) => {
      samples.zstd.push(await seconds(() => output("zstd", ["-q", "-d", from, "-o", back])));
      await Deno.remove(back);
      samples.hotboot.push(await seconds(async () => peaks.push(await hotboot("decompress", from, back))));
      await Deno.remove(back);
    };
    for (let run = 0; run < RUNS; run++) {
      for (const path of [ours, tools]) await Deno.remove(path).catch(() => {});
      packing.zstd.push(await seconds(() => output("zstd", ["-q", "-1", "-T0", raw, "-o", tools])));
      packing.hotboot.push(await seconds(async () => memory.compress.push(await hotboot("compress", raw, ours))));
      await unpack(ours, unpacking, memory.decompress);
      await unpack(tools, unpackingTools, memory["decompress the tool's"]);
    }
    const sizes = { hotboot: [(await Deno.stat(ours)).size / MIB], zstd: [(await Deno.stat(tools)).size / MIB] };
    return [
      throughput("zstd: compressing 4 GiB of RAM, throughput ÷ `zstd -1 -T0`'s", packing, 0.8),
      throughput("zstd: decompressing that, throughput ÷ `zstd -d`'s", unpacking, 1),
      throughput("zstd: decompressing the tool's single frame, throughput ÷ `zstd -d`'s", unpackingTools),
      {
        name: "zstd: peak memory of the process",
        unit: "MiB",
        value: Math.max(...Object.values(memory).flat()),
        target: { atMost: 200 },
        samples: memory,
      },
      {
        name: "zstd: size ÷ that of `zstd -1`",
        unit: "ratio",
        value: median(sizes.hotboot) / median(sizes.zstd),
        target: { atMost: 1.05 },
        samples: {},
      },
    ];
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
};

function throughput(name: string, samples: Record<string, number[]>, atLeast?: number): Figure {
  return {
    name,
    unit: "ratio",
    value: median(samples.zstd) / median(samples.hotboot),
    ...(atLeast !== undefined && { target: { atLeast } }),
    samples,
  };
}

/**
 * A file as a VM's RAM is: programs, libraries and texts of this machine as a page cache has them, heaps of pointers,
 * what does not compress, pages of zeros; and holes between these, where nothing has been.
 */
async function makeMemory(path: string): Promise<void> {
  const next = random(1);
  const files = await filesBelow(["/usr/bin", "/usr/lib", "/usr/share"]);
  const makers: Record<string, { share: number; made: number; make: () => Uint8Array }> = {
    files: { share: 0.62, made: 0, make: () => Deno.readFileSync(files[Math.floor(next() * files.length)]) },
    heaps: { share: 0.16, made: 0, make: () => heap(next) },
    zeros: { share: 0.14, made: 0, make: () => new Uint8Array(PAGE * Math.ceil(next() * 512)) },
    noise: { share: 0.08, made: 0, make: () => noise(PAGE * Math.ceil(next() * 16)) },
  };
  using file = await Deno.open(path, { write: true, createNew: true });
  await file.truncate(SIZE);
  let hole = SIZE - TOUCHED;
  let at = 0;
  for (let touched = 0; touched < TOUCHED && at < SIZE;) {
    const kind = Object.values(makers).reduce((a, b) => a.made / a.share <= b.made / b.share ? a : b);
    const bytes = kind.make().subarray(0, SIZE - at);
    kind.made += bytes.length;
    await file.seek(at, Deno.SeekMode.Start);
    for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
    const pages = Math.ceil(bytes.length / PAGE) * PAGE;
    touched += pages;
    at += pages;
    if (next() < 0.9) continue;
    const skipped = Math.min(hole, Math.floor(next() * 20 * pages / PAGE) * PAGE);
    hole -= skipped;
    at += skipped;
  }
}

async function filesBelow(directories: string[]): Promise<string[]> {
  const found: string[] = [];
  for (const directory of directories) {
    for await (const { path, isFile } of walk(directory, { includeDirs: false })) {
      if (isFile && isFitting((await Deno.stat(path)).size)) found.push(path);
    }
  }
  return found.sort();
}

function isFitting(size: number): boolean {
  return size > 2 * PAGE && size < 64 * MIB;
}

/** Pages of pointers and small numbers, of which some are still zeros. */
function heap(next: () => number): Uint8Array {
  const words = new BigUint64Array(64 * PAGE / 8);
  for (let page = 0; page < words.length; page += PAGE / 8) {
    if (next() < 0.3) continue;
    for (let word = page; word < page + PAGE / 8; word += 2) {
      words[word] = 0x7f3a00000000n + BigInt(Math.floor(next() * 2 ** 20) * 8);
      words[word + 1] = BigInt(Math.floor(next() * 1024));
    }
  }
  return new Uint8Array(words.buffer);
}

function noise(size: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(size)); // at most 65536
}

async function output(program: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}
