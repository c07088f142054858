/** How much of an image moves between a registry and a home after a change of the application's code. */

import { copy } from "@std/fs/copy";
import { ROOT } from "../../dev/deno.ts";
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
  about: "what moves of an image in a registry after a change of code",
  full: { seconds: 420, guest: "demo" },
  smoke: { seconds: 100, guest: "micro" },

  async measure({ guest }) {
    const directory = await Deno.makeTempDir({ prefix: "hotboot-bench-" });
    try {
      await using registry = await RegistryServer.start();
      await copy(`${ROOT}qemu`, `${directory}/qemu`);
      const profile = `${directory}/qemu/${guest}/profile.json`;
      const fields = JSON.parse(await Deno.readTextFile(profile));
      delete fields.$schema;
      fields.image.oci = `oci://${registry.host}/${guest}:main`;
      await Deno.writeTextFile(profile, JSON.stringify(fields));
      const run = async (verb: string, home: string, ...args: string[]) => {
        const own = ["--home", `${directory}/${home}`, "--profile", profile, "--json", ...args];
        const { code, stdout, stderr } = await hotboot([verb, ...own]);
        if (code !== 0) throw new Error(`${verb}: ${stderr}`);
        return JSON.parse(stdout) as { size: number; moved: number };
      };
      await run("build", "publisher");
      await run("push", "publisher");
      await run("pull", "user", "--skip-snapshot");

      const { file, added } = CHANGES[guest];
      const functions = Array.from(
        { length: 100 },
        (_, at) => `\n\n# A feature\ndef feature_${at}():\n    return ${at}\n`,
      );
      await Deno.writeTextFile(`${directory}/qemu/${file}`, functions.join(""), { append: true });
      await Deno.writeTextFile(`${directory}/qemu/${added}`, functions.join("").repeat(10));
      await run("build", "publisher");
      const sent = await run("push", "publisher");
      const fetched = await run("pull", "user", "--skip-snapshot");
      const figure = (name: string, { size, moved }: { size: number; moved: number }): Figure => ({
        name: `${guest}: bytes ${name} ÷ image size, after a change of code`,
        unit: "ratio",
        value: moved / size,
        target: { atMost: 0.15 },
        of: "MiB",
        samples: { moved: [moved / MIB], size: [size / MIB] },
      });
      return [figure("sent by push", sent), figure("fetched by pull", fetched)];
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
};
