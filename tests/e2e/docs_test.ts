// needs: micro, demo

/**
 * The documentation's commands, in the order of each page, in a project with a guest. A page that names the demo gets the
 * demo, with free ports; the others get the micro guest.
 */

import { assert, assertEquals } from "@std/assert";
import { delimiter } from "node:path";
import { shellCommand } from "../../lib/base/shell.ts";
import type { Profile } from "../../lib/profile/profile.ts";
import { blocksOf, pages } from "../docs.ts";
import { GuestHome } from "./guest_home.ts";
import { denoDirectory, HOTBOOT } from "./program.ts";
import { qemuEnv } from "./qemu.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";

/** The micro guest as a project. */
function project(): Promise<GuestHome> {
  return secretMicro(ROTATE, (profile: Profile) => {
    profile.environment = { API_URL: "http://127.0.0.1:${ports.web.host}", ADMIN_KEY: "${secret.TOKEN}" };
    profile.image = { build: { script: "build.sh", inputs: ["build.sh"] } }; // a project's recipe is in its directory
  }, { captured: true, name: ".hotboot" });
}

/** Writes what the commands find: hotboot on PATH, a trusted `hotboot.json`, tests that use the stack. */
async function furnish(home: GuestHome, isDemo: boolean): Promise<Record<string, string>> {
  const programs = `${home.directory}/bin`;
  await Deno.mkdir(programs);
  await Deno.mkdir(`${home.directory}/project`);
  // The built-in profile has fixed ports, which another test may use meanwhile.
  const script = `#!/usr/bin/env bash
arguments=()
for each; do if [ "$each" = demo ]; then each=$DEMO; fi; arguments+=("$each"); done
exec ${shellCommand(HOTBOOT)} "\${arguments[@]}"
`;
  await Deno.writeTextFile(`${programs}/hotboot`, script, { mode: 0o755 });
  const check = isDemo ? "true" : 'test -n "$API_URL" -a -n "$ADMIN_KEY"'; // the demo has no variables for programs
  await Deno.writeTextFile(`${home.directory}/project/package.json`, JSON.stringify({ scripts: { test: check } }));
  if (!isDemo) {
    const profile = (await Deno.readTextFile(home.profile)).replaceAll(
      /"web"|ports\.web\b/g,
      (name) => name.replace("web", "api"),
    );
    await Deno.writeTextFile(`${home.directory}/project/hotboot.json`, profile); // the service is called as in the pages
  }
  return {
    PATH: [programs, (home.qemu.includes("/") ? qemuEnv(home.qemu) : Deno.env.toObject()).PATH].join(delimiter),
    HOME: home.directory, // where the commands find their home by themselves
    HOTBOOT_HOME: "",
    ...await denoDirectory(),
    XDG_CONFIG_HOME: `${home.directory}/config`,
    DEMO: home.profile,
  };
}

for (const page of await pages()) {
  const blocks = (await blocksOf(page)).filter(({ language, onlyParsed }) => language === "sh" && !onlyParsed);
  if (blocks.length === 0) continue;
  Deno.test(`docs: the commands of ${page} work, one after the other`, async () => {
    const script = blocks.map(({ text }) => text).join("\n");
    const isDemo = script.includes("--profile demo");
    await using home = isDemo
      ? await GuestHome.make({ guest: "demo", captured: true, name: ".hotboot" })
      : await project();
    const env = await furnish(home, isDemo);
    const begin = isDemo ? "" : "hotboot trust\n";
    const { code, stdout, stderr } = await new Deno.Command("bash", {
      args: ["-euxo", "pipefail", "-c", begin + script],
      cwd: `${home.directory}/project`,
      env,
      stdin: "null",
    }).output();
    const said = new TextDecoder().decode(stderr);
    assertEquals(code, 0, `${new TextDecoder().decode(stdout)}\n${said}`);
    assert(!said.includes("there are no instances"), said); // the pages list those that they have started
    const ran = said.match(/^\++ hotboot /gm)?.length ?? 0;
    assert(ran >= blocks.length, said);
  });
}
