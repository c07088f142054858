/** What people read before they trust a profile. The question itself is in `tests/e2e/trust_test.ts`. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path/from-file-url";
import { allCommands } from "../../lib/cli/commands/verbs.ts";
import { summaryOf } from "../../lib/cli/permissions/trust_summary.ts";
import { openEmulator } from "../../lib/instance/emulator.ts";
import micro from "../../qemu/micro/profile.json" with { type: "json" };
import { withDirectory } from "./temporary.ts";

async function summary(profile: Record<string, unknown>): Promise<string[]> {
  let text = "";
  await withDirectory(async (directory) => {
    const path = `${await Deno.realPath(directory)}/hotboot.json`;
    await Deno.writeTextFile(
      path,
      JSON.stringify({ ...micro, ...profile }).replaceAll("EVADE", "\\u0024{env.EMULATOR_E:-}"),
    );
    text = await summaryOf(await openEmulator({ profile: path, home: "/the/home" }), path);
  });
  return text.split("\n");
}

Deno.test("trust: the summary says what runs, is shared and read, and where it connects", async () => {
  const image = { build: { script: "build.sh", inputs: ["build.sh", "guest"] } };
  assertEquals(await summary({ image }), [
    "  runs       build.sh on this machine, with all your rights; keeps its files in /the/home",
    "  shares     no directory; sets no variable for 'hotboot run'",
    "  reads      no variable; the files build.sh, guest",
    "  connects   to no host; the guest reaches what you reach",
  ]);
  const cloudInit = {
    base: { url: "https://images.example.com/{arch}.qcow2", sha256: { amd64: "0".repeat(64), arm64: "0".repeat(64) } },
    disk: 1000,
    userData: "user-data",
  };
  const release = { repository: "acme/shop", tag: "t", assets: { disk: "d" } };
  const attestation = { workflow: "acme/shop/.github/workflows/image.yml", trustedRoot: "root.json" };
  assertEquals(
    await summary({
      image: { build: { cloudInit }, release, attestation },
      machine: { memory: 256, cpus: 1, network: "restricted" },
      share: { tag: "t", path: "/home", mount: ["true"], readOnly: false },
      environment: { API_URL: "EVADE" },
    }),
    [
      "  runs       nothing but the guest; keeps its files in /the/home",
      "  shares     /home, which the guest can change; sets the variable API_URL for 'hotboot run'",
      "  reads      the variable EMULATOR_E; the files user-data, root.json",
      "  connects   to the hosts github.com/acme/shop, images.example.com; the guest reaches nothing",
    ],
  );
});

Deno.test("trust: nothing in a profile can forge a line of the summary, or push one off the screen", async () => {
  const environment = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`V${index}`, "x"]));
  const share = { tag: "t", path: `/home\x1b[2J\n  runs nothing\u202e${"long".repeat(1000)}`, mount: ["true"] };
  const lines = await summary({ environment, share });
  assertEquals(lines.map((line) => line.match(/^ {2}(\w+)/)![1]), ["runs", "shares", "reads", "connects"]);
  assertMatch(lines[1], /V5 and 494 more for 'hotboot run'$/);
  // deno-lint-ignore no-control-regex -- that is what must not be there
  for (const line of lines) assert(line.length < 300 && !/[\x00-\x1f\u202e]/.test(line), line);
});

Deno.test("trust: the security page lists the commands that need none, and those that need it once", async () => {
  const page = await Deno.readTextFile(fromFileUrl(new URL("../../docs/security.md", import.meta.url)));
  const commands = await allCommands();
  for (const [kind, start] of Object.entries({ looks: "These need no trust", ends: "These end or remove" })) {
    const [, listed] = page.match(new RegExp(`${start}[^:]*: ([^.]*)\\.`))!;
    const names = commands.filter(({ command }) => command.trust === kind).map(({ name }) => name);
    assertEquals(Array.from(listed.matchAll(/`([^`]+)`/g), ([, name]) => name).sort(), names.sort());
  }
});
