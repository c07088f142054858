/** What the compiled program takes to pull an image from nginx: checked, and on the disk; against curl, which does neither. */

import { compile } from "../../dev/build.ts";
import { ROOT } from "../../dev/deno.ts";
import { freePort } from "../e2e/shared.ts";
import { requireRuntime } from "./binary.ts";
import { type Bench, ratio, type Scale, seconds } from "./figure.ts";
import { serveFiles } from "./nginx.ts";
import { MIB, output, writeNoise } from "./programs.ts";

export const bench: Bench<Scale & { runs: number; /** MiB. */ size: number }> = {
  about: "pulling by the compiled program, against curl",
  full: { seconds: 60, runs: 9, size: 1024 },
  smoke: { seconds: 15, runs: 1, size: 8 },

  async measure({ runs, size }) {
    const directory = await Deno.makeTempDir({ prefix: "hotboot-bench-" });
    const port = freePort();
    const origin = `http://127.0.0.1:${port}`;
    try {
      const hotboot = `${directory}/hotboot`;
      await Deno.writeTextFile(`${directory}/trivial.ts`, "");
      await requireRuntime(`${directory}/trivial.ts`, hotboot);
      await compile(`${ROOT}cli.ts`, hotboot);
      await publish(directory, size * MIB, origin);
      // Both take away what is left of the one before: a file system that has to free space does not decide.
      const [copy, home] = [`${directory}/copy`, `${directory}/home`];
      const removeAll = async () => {
        for (const path of [copy, home]) await Deno.remove(path, { recursive: true }).catch(() => {});
      };
      const pull = ["pull", "--skip-snapshot", "--quiet", "--home", home, "--profile", `${directory}/profile.json`];
      await using _nginx = await serveFiles(directory, port, "location /repos/acme/disk/assets/ { return 302 /disk; }");
      const samples: Record<string, number[]> = { curl: [], pull: [] };
      for (let run = 0; run < runs; run++) {
        samples.curl.push(await seconds(() => output("curl", "-s", "-o", copy, `${origin}/disk`)));
        await removeAll();
        samples.pull.push(await seconds(() => output("env", `HOTBOOT_GITHUB_API=${origin}`, hotboot, ...pull)));
        await removeAll();
      }
      return [
        ratio(
          `pull: ${size} MiB from nginx, throughput with the checksum, and flushed to the disk ÷ curl's without`,
          samples,
          ["curl", "pull"],
          { atLeast: 0.9 },
        ),
      ];
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
};

/** Makes a release of a disk, as GitHub's API describes it, and a profile that names it. */
async function publish(directory: string, size: number, origin: string): Promise<void> {
  const disk = `${directory}/disk`;
  await writeNoise(disk, size);
  const header = new Uint8Array(512);
  header.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
  {
    using file = await Deno.open(disk, { write: true });
    await file.write(header);
  }
  const sha256 = (await output("sha256sum", disk)).slice(0, 64);
  const tags = `${directory}/repos/acme/disk/releases/tags`;
  await Deno.mkdir(tags, { recursive: true });
  const published = "2026-01-02T03:04:05Z";
  const asset = { name: "disk", size, digest: `sha256:${sha256}`, url: `${origin}/repos/acme/disk/assets/1` };
  const assets = [{ ...asset, updated_at: published }];
  const release = { tag_name: "v1", name: "v1", draft: false, prerelease: false, published_at: published, assets };
  await Deno.writeTextFile(`${tags}/v1`, JSON.stringify(release));
  const profile = {
    name: "pulled",
    image: { release: { repository: "acme/disk", tag: "v1", assets: { disk: "disk" } } },
    machine: { memory: 256, cpus: 1 },
    ports: { web: { guest: 8080, host: 8080 } },
    health: [{ name: "web", port: "web", path: "/" }],
  };
  await Deno.writeTextFile(`${directory}/profile.json`, JSON.stringify(profile));
}
