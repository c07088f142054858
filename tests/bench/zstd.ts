/** Compressing bytes like a VM's RAM, against the `zstd` tool. */

import { random } from "../unit/random.ts";
import { type Bench, median, ratio, type Scale, seconds } from "./figure.ts";
import { memoryDirectory, MIB, output, peakOf } from "./programs.ts";

const PAGE = 4096;
/** The tool's time ÷ hotboot's is hotboot's throughput ÷ the tool's. */
const BOTH: [string, string] = ["zstd", "hotboot"];

interface Sizes extends Scale {
  runs: number;
  /** MiB of RAM. */
  size: number;
  /** MiB of it that are touched. */
  touched: number;
}

export const bench: Bench<Sizes> = {
  about: "compressing bytes like a VM's RAM, against zstd",
  full: { seconds: 120, runs: 5, size: 2048, touched: 1280 },
  smoke: { seconds: 5, runs: 1, size: 64, touched: 40 },

  async measure({ runs, size, touched }) {
    const directory = await memoryDirectory(3 * touched * MIB); // the RAM, a copy, two compressed files
    const [raw, ours, tools, back] = ["raw", "ours.zst", "tools.zst", "back"].map((name) => `${directory}/${name}`);
    try {
      await makeMemory(raw, size * MIB, touched * MIB);
      const memory: Record<string, number[]> = { compress: [], decompress: [], "decompress the tool's": [] };
      const packing: Record<string, number[]> = { zstd: [], hotboot: [] };
      const unpacking: Record<string, number[]> = { zstd: [], hotboot: [] };
      const unpackingTools: Record<string, number[]> = { zstd: [], hotboot: [] };
      const unpack = async (from: string, samples: Record<string, number[]>, peaks: number[]) => {
        samples.zstd.push(await seconds(() => output("zstd", "-q", "-d", from, "-o", back)));
        await Deno.remove(back);
        samples.hotboot.push(await seconds(async () => peaks.push(await peakOf("decompress", from, back))));
        await Deno.remove(back);
      };
      for (let run = 0; run < runs; run++) {
        for (const path of [ours, tools]) await Deno.remove(path).catch(() => {});
        packing.zstd.push(await seconds(() => output("zstd", "-q", "-1", "-T0", raw, "-o", tools)));
        packing.hotboot.push(await seconds(async () => memory.compress.push(await peakOf("compress", raw, ours))));
        await unpack(ours, unpacking, memory.decompress);
        await unpack(tools, unpackingTools, memory["decompress the tool's"]);
      }
      const sizes = { hotboot: [(await Deno.stat(ours)).size / MIB], zstd: [(await Deno.stat(tools)).size / MIB] };
      return [
        ratio(`zstd: compressing ${size} MiB of RAM, throughput ÷ \`zstd -1 -T0\`'s`, packing, BOTH, { atLeast: 0.8 }),
        ratio("zstd: decompressing that, throughput ÷ `zstd -d`'s", unpacking, BOTH, { atLeast: 1 }),
        ratio("zstd: decompressing the tool's single frame, throughput ÷ `zstd -d`'s", unpackingTools, BOTH),
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
  },
};

/**
 * A file like a VM's RAM: this machine's programs, libraries and texts as in a page cache, heaps of pointers,
 * incompressible bytes and pages of zeros, with holes between them for untouched memory.
 */
async function makeMemory(path: string, size: number, touched: number): Promise<void> {
  const next = random(1);
  const files = filesBelow(["/usr/bin", "/usr/lib", "/usr/share"]);
  const makers: Record<string, { share: number; made: number; make: () => Uint8Array }> = {
    files: { share: 0.62, made: 0, make: () => Deno.readFileSync(files[Math.floor(next() * files.length)]) },
    heaps: { share: 0.16, made: 0, make: () => heap(next) },
    zeros: { share: 0.14, made: 0, make: () => new Uint8Array(PAGE * Math.ceil(next() * 512)) },
    noise: { share: 0.08, made: 0, make: () => noise(PAGE * Math.ceil(next() * 16)) },
  };
  using file = await Deno.open(path, { write: true, createNew: true });
  await file.truncate(size);
  let hole = size - touched;
  let at = 0;
  for (let done = 0; done < touched && at < size;) {
    const kind = Object.values(makers).reduce((a, b) => a.made / a.share <= b.made / b.share ? a : b);
    const bytes = kind.make().subarray(0, size - at);
    kind.made += bytes.length;
    await file.seek(at, Deno.SeekMode.Start);
    for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
    const pages = Math.ceil(bytes.length / PAGE) * PAGE;
    done += pages;
    at += pages;
    if (next() < 0.9) continue;
    const skipped = Math.min(hole, Math.floor(next() * 20 * pages / PAGE) * PAGE);
    hole -= skipped;
    at += skipped;
  }
}

function filesBelow(directories: string[]): string[] {
  const found: string[] = [];
  const look = (directory: string) => {
    for (const { name, isDirectory, isFile } of Deno.readDirSync(directory)) {
      const path = `${directory}/${name}`;
      if (isDirectory) look(path);
      else if (isFile && isFitting(Deno.statSync(path).size)) found.push(path);
    }
  };
  for (const directory of directories) look(directory);
  return found.sort();
}

function isFitting(size: number): boolean {
  return size > 2 * PAGE && size < 64 * MIB;
}

/** Pages of pointers and small numbers, some of them still zeros. */
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
