/** How much of an image moves between a registry, or a release, and a home after a change of the application's code. */

import { copy } from "@std/fs/copy";
import { ROOT } from "../../dev/deno.ts";
import { GitHubServer, REPOSITORY } from "../e2e/github_server.ts";
import { hotboot } from "../e2e/program.ts";
import { RegistryServer } from "../e2e/registry_server.ts";
import type { Bench, Figure, Scale } from "./figure.ts";
import { MIB } from "./programs.ts";

/** What a change of code is: some functions more in a file, and one more file. */
const CHANGES = {
  demo: { file: "shared/services/opt/emulator/backend.py", added: "shared/services/opt/emulator/feature.py" },
  micro: { file: "micro/guest/www/token", added: "micro/guest/www/feature" },
};

export const bench: Bench<Scale & { guest: keyof typeof CHANGES }> = {
  about: "what moves of an image in a registry or a release after a change of code",
  full: { seconds: 240, guest: "demo" },
  smoke: { seconds: 45, guest: "micro" },

  async measure({ guest }) {
    const directory = await Deno.makeTempDir({ prefix: "hotboot-bench-" });
    try {
      await using registry = await RegistryServer.start();
      await using github = new GitHubServer();
      const env = {
        HOTBOOT_GITHUB_API: github.api,
        HOTBOOT_DOWNLOAD_HOSTS: new URL(github.storage.origin).host,
        GITHUB_ENTERPRISE_TOKEN: "",
        GH_ENTERPRISE_TOKEN: "",
      };
      await copy(`${ROOT}qemu`, `${directory}/qemu`);
      const profile = `${directory}/qemu/${guest}/profile.json`;
      const fields = JSON.parse(await Deno.readTextFile(profile));
      delete fields.$schema;
      fields.image.oci = `oci://${registry.host}/${guest}:main`;
      await Deno.writeTextFile(profile, JSON.stringify(fields));
      // The same profile with its image in a release.
      const released = profile.replace("profile.json", "released.json");
      delete fields.image.oci;
      const assets = { disk: `${guest}.qcow2`, kernel: `${guest}.kernel`, initrd: `${guest}.initrd` };
      fields.image.release = { repository: REPOSITORY, tag: "latest", assets };
      await Deno.writeTextFile(released, JSON.stringify(fields));
      const run = async (verb: string, home: string, from: string, ...args: string[]) => {
        const own = ["--home", `${directory}/${home}`, "--profile", from, "--json", ...args];
        const { code, stdout, stderr } = await hotboot([verb, ...own], { env });
        if (code !== 0) throw new Error(`${verb}: ${stderr}`);
        return JSON.parse(stdout) as { size: number; moved: number };
      };
      const publish = async () => {
        await run("build", "publisher", profile);
        const sent = await run("push", "publisher", profile);
        await run("push", "publisher", released, "--assets", `${directory}/assets`);
        const files = await Array.fromAsync(Deno.readDir(`${directory}/assets`), async ({ name }) => (
          { name, bytes: await Deno.readFile(`${directory}/assets/${name}`) }
        ));
        github.release("latest", files);
        return { sent, whole: files.find(({ name }) => name === assets.disk)!.bytes.length };
      };
      const fetchBoth = async () => ({
        fetched: await run("pull", "user", profile, "--skip-snapshot"),
        indexed: await run("pull", "user of releases", released, "--skip-snapshot"),
      });
      await publish();
      await fetchBoth();

      const { file, added } = CHANGES[guest];
      const functions = Array.from(
        { length: 100 },
        (_, at) => `\n\n# A feature\ndef feature_${at}():\n    return ${at}\n`,
      );
      await Deno.writeTextFile(`${directory}/qemu/${file}`, functions.join(""), { append: true });
      await Deno.writeTextFile(`${directory}/qemu/${added}`, functions.join("").repeat(10));
      const { sent, whole } = await publish();
      const { fetched, indexed } = await fetchBoth();
      const figure = (name: string, { size, moved }: { size: number; moved: number }): Figure => ({
        name: `${guest}: bytes ${name} ÷ image size, after a change of code`,
        unit: "ratio",
        value: moved / size,
        target: { atMost: 0.15 },
        of: "MiB",
        samples: { moved: [moved / MIB], size: [size / MIB] },
      });
      return [
        figure("sent by push", sent),
        figure("fetched by pull", fetched),
        figure("fetched by pull from a release", { ...indexed, size: whole }),
      ];
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
};
