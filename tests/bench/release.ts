/** Downloading from nginx, against curl, which checks nothing. */

import { exists } from "@std/fs/exists";
import { fromFileUrl } from "@std/path/from-file-url";
import { importArguments } from "../../dev/deno.ts";
import { freePort } from "../e2e/harness.ts";
import { type Bench, median, seconds } from "./figure.ts";

const RUNS = 9;
const SIZE = 2 ** 30;

export const bench: Bench = async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-bench-" });
  const port = freePort();
  const nginx = await serve(directory, port);
  const url = `http://127.0.0.1:${port}/file`;
  try {
    const block = new Uint8Array(2 ** 20);
    for (let at = 0; at < block.length; at += 65536) crypto.getRandomValues(block.subarray(at, at + 65536));
    {
      using file = await Deno.open(`${directory}/file`, { write: true, create: true });
      for (let left = SIZE; left > 0;) left -= await file.write(block.subarray(0, left));
    }
    const sha256 = (await output("sha256sum", [`${directory}/file`])).slice(0, 64);
    const target = `${await memoryDirectory()}/hotboot-bench-${crypto.randomUUID()}`;
    const script = fromFileUrl(new URL("release_once.ts", import.meta.url));
    const ours = ["run", "-A", "-q", ...await importArguments(), script, url, target, sha256];
    const samples: Record<string, number[]> = { curl: [], hotboot: [] };
    const memory: number[] = [];
    for (let run = 0; run < RUNS; run++) {
      samples.curl.push(await seconds(() => output("curl", ["-s", "-o", target, url])));
      await Deno.remove(target);
      samples.hotboot.push(await seconds(async () => memory.push(Number(await output(Deno.execPath(), ours)))));
      for (const path of [target, `${target}.json`]) await Deno.remove(path);
    }
    return [{
      name: "download: 1 GiB from nginx, throughput with the checksum ÷ curl's without",
      unit: "ratio",
      value: median(samples.curl) / median(samples.hotboot),
      target: { atLeast: 0.9 },
      samples,
    }, {
      name: "download: peak memory of the process",
      unit: "MiB",
      value: median(memory),
      target: { atMost: 150 },
      samples: { "1 GiB": memory },
    }];
  } finally {
    nginx.kill("SIGTERM");
    await nginx.status;
    await Deno.remove(directory, { recursive: true });
  }
};

async function memoryDirectory(): Promise<string> {
  const isThere = await exists("/dev/shm");
  return isThere ? "/dev/shm" : "/tmp";
}

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
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("nginx does not listen");
}

async function output(program: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}
