/** Downloading from nginx, against curl, which checks nothing. */

import { freePort } from "../e2e/shared.ts";
import { serveFiles } from "./nginx.ts";
import { type Bench, median, ratio, type Scale, seconds } from "./figure.ts";
import { memoryDirectory, MIB, output, peakOf, writeNoise } from "./programs.ts";

export const bench: Bench<Scale & { runs: number; /** MiB. */ size: number }> = {
  about: "downloading, against curl",
  full: { seconds: 45, runs: 9, size: 1024 },
  smoke: { seconds: 3, runs: 1, size: 8 },

  async measure({ runs, size }) {
    const [from, to] = [await Deno.makeTempDir({ prefix: "hotboot-bench-" }), await memoryDirectory(size * MIB)];
    const port = freePort();
    await using _nginx = await serveFiles(from, port);
    const url = `http://127.0.0.1:${port}/file`;
    try {
      await writeNoise(`${from}/file`, size * MIB);
      const sha256 = (await output("sha256sum", `${from}/file`)).slice(0, 64);
      const target = `${to}/file`;
      const samples: Record<string, number[]> = { curl: [], hotboot: [] };
      const memory: number[] = [];
      for (let run = 0; run < runs; run++) {
        samples.curl.push(await seconds(() => output("curl", "-s", "-o", target, url)));
        await Deno.remove(target);
        samples.hotboot.push(await seconds(async () => memory.push(await peakOf("download", url, target, sha256))));
        for (const path of [target, `${target}.json`]) await Deno.remove(path);
      }
      const name = `download: ${size} MiB from nginx, throughput with the checksum ÷ curl's without`;
      return [
        ratio(name, samples, ["curl", "hotboot"], { atLeast: 0.9 }),
        {
          name: "download: peak memory of the process",
          unit: "MiB",
          value: median(memory),
          target: { atMost: 150 },
          samples: { download: memory },
        },
      ];
    } finally {
      for (const directory of [from, to]) await Deno.remove(directory, { recursive: true });
    }
  },
};
