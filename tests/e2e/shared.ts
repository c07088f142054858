/** What the tests of one run share, although they run in several processes: ports, and snapshots to begin with. */

import { assert } from "@std/assert";
import { encodeHex } from "@std/encoding/hex";
import { Home, lock } from "../../lib/emulator/home.ts";
import type { Profile } from "../../lib/profile/profile.ts";
import type { GuestHome } from "./harness.ts";

/** The run's directory: that of HOTBOOT_TEST_RUN, and without it this process is the run. */
const RUN = Deno.env.get("HOTBOOT_TEST_RUN") || ownDirectory();

function ownDirectory(): string {
  const directory = Deno.makeTempDirSync({ prefix: "hotboot-tests-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));
  return directory;
}

/** A port of 127.0.0.1 that nothing listens on, and that no other test of this run is given. */
export function freePort(): number {
  for (;;) {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    try {
      Deno.openSync(`${RUN}/port-${port}`, { createNew: true, write: true }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    }
  }
}

/**
 * Gives a new home a snapshot: a copy of one that was captured in this run on the same machine, which the first home that
 * wants one captures for all.
 */
export async function shareCapture(home: GuestHome): Promise<void> {
  const name = `captured-${home.guest}-${await machineDigest(home)}`;
  const shared = `${RUN}/${name}`;
  using _lock = await lock(new Home(RUN), name, () => {});
  if (await Deno.stat(shared).then(() => true, () => false)) return await copyCaptured(shared, home.home);
  await home.succeed("capture");
  await Deno.mkdir(`${shared}.part`);
  await copyCaptured(home.home, `${shared}.part`);
  await Deno.rename(`${shared}.part`, shared);
}

/** Copies what a capture leaves, snapshots with their holes, and what it has found out about QEMU. */
async function copyCaptured(from: string, to: string): Promise<void> {
  const args = ["-a", `${from}/snapshots`, `${from}/cache`, to];
  const { success, stderr } = await new Deno.Command("cp", { args }).output();
  assert(success, new TextDecoder().decode(stderr));
}

/** Tells machines apart by everything in their profiles but what no snapshot depends on. */
async function machineDigest({ arch, qemu, profile }: GuestHome): Promise<string> {
  const { secrets: _, rotation: __, project: ___, environment: ____, ports, share, ...rest }: Profile = JSON.parse(
    await Deno.readTextFile(profile),
  );
  const config = JSON.stringify(rest.config ?? {});
  assert(
    !/\$\{(ports\.\w+\.host|instance\.\w+)\}/.test(config),
    `a snapshot with this in it is one home's own: ${config}`,
  );
  const guestPorts = Object.entries(ports).map(([name, { guest }]) => [name, guest]);
  const text = JSON.stringify([arch, qemu, rest, guestPorts, share && { ...share, path: "" }]);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return encodeHex(new Uint8Array(digest)).slice(0, 16);
}
