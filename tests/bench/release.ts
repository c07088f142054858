/** Downloading from nginx, against curl, which checks nothing. */

import { sleep } from "../../lib/base/wait.ts";
import { freePort } from "../e2e/shared.ts";
import { type Bench, median, ratio, type Scale, seconds } from "./figure.ts";
import { memoryDirectory, MIB, output, peakOf, writeNoise } from "./programs.ts";

export const bench: Bench<Scale & { runs: number; /** MiB. */ size: number }> = {
  about: "downloading, against curl",
  full: { seconds: 45, runs: 9, size: 1024 },
  smoke: { seconds: 3, runs: 1, size: 8 },

  async measure({ runs, size }) {
    const [from, to] = [await Deno.makeTempDir({ prefix: "hotboot-bench-" }), await memoryDirectory(size * MIB)];
    const port = freePort();
    const nginx = await serve(from, port);
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
      nginx.kill("SIGTERM");
      await nginx.status;
      for (const directory of [from, to]) await Deno.remove(directory, { recursive: true });
    }
  },
};

async function serve(directory: string, port: number): Promise<Deno.ChildProcess> {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${directory}/${name};`).join(" ");
  await Deno.writeTextFile(
    `${directory}/nginx.conf`,
    `daemon off; pid ${directory}/pid; error_log ${directory}/error.log; worker_processes 1; user root; events {}
    http { access_log off; sendfile on; tcp_nopush on; ${temporary}
      server { listen 127.0.0.1:${port}; root ${directory}; } }\n`,
  );
  const nginx = new Deno.Command("nginx", { args: ["-c", `${directory}/nginx.conf`], stderr: "null" }).spawn();
  for (let tries = 0; tries < 100; tries++) {
    const isUp = await Deno.connect({ port, hostname: "127.0.0.1" }).then(
      (connection) => (connection.close(), true),
      () => false,
    );
    if (isUp) return nginx;
    await sleep(50);
  }
  throw new Error("nginx does not listen");
}
