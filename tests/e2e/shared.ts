/** What the tests of one run share across processes: ports, and snapshots to start from. */

import { assert } from "@std/assert";
import { encodeHex } from "@std/encoding/hex";
import { Home } from "../../lib/instance/home.ts";
import { lock, tryLock } from "../../lib/instance/locks.ts";
import type { Profile } from "../../lib/profile/profile.ts";
import type { GuestHome } from "./guest_home.ts";

/** The run's directory: HOTBOOT_TEST_RUN, or a new one if this process is the whole run. */
const RUN = Deno.env.get("HOTBOOT_TEST_RUN") || ownDirectory();

function ownDirectory(): string {
  const directory = Deno.makeTempDirSync({ prefix: "hotboot-tests-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));
  return directory;
}

/** A port of 127.0.0.1 that nothing listens on, and that no other test of this run gets. */
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

/** Host ports for one home, until it is disposed of. Then another home may get them. */
export interface Lease extends Disposable {
  /** The ports, by the profile's names. */
  ports: Record<string, number>;
}

/** The first set of ports for this guest that no home uses. They are reused because snapshots may contain them. */
export async function leasePorts(guest: string, names: string[]): Promise<Lease> {
  for (let set = 0;; set++) {
    const name = `ports-${guest}-${set}`;
    const held = await tryLock(new Home(RUN), name);
    if (!held) continue;
    const path = `${RUN}/${name}.json`;
    const ports = await Deno.readTextFile(path).then(JSON.parse, () => undefined) ??
      Object.fromEntries(names.map((name) => [name, freePort()]));
    await Deno.writeTextFile(path, JSON.stringify(ports));
    return { ports, [Symbol.dispose]: () => held[Symbol.dispose]() };
  }
}

/**
 * Gives a new home a copy of a snapshot that was captured in this run on the same machine. The first home that
 * needs one captures it for all.
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

/** Copies what a capture leaves: sparse snapshots, and the facts about QEMU. */
async function copyCaptured(from: string, to: string): Promise<void> {
  const args = ["-a", `${from}/snapshots`, `${from}/cache`, to];
  const { success, stderr } = await new Deno.Command("cp", { args }).output();
  assert(success, new TextDecoder().decode(stderr));
}

/** Identifies a machine by everything in its profile that a snapshot depends on. */
async function machineDigest({ arch, qemu, profile }: GuestHome): Promise<string> {
  const machine: Profile = JSON.parse(await Deno.readTextFile(profile));
  const config = JSON.stringify(machine.config ?? {});
  assert(!config.includes("${instance."), `a snapshot with this in it fits only one home: ${config}`);
  // The share is plugged in after the capture, into a slot that every machine has.
  for (const name of ["secrets", "rotation", "project", "environment", "share"] as const) delete machine[name];
  for (const [name, port] of Object.entries(machine.ports)) {
    if (!config.includes(`\${ports.${name}.host}`)) port.host = 0; // the guest does not know it
  }
  const text = JSON.stringify([arch, qemu, machine]);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return encodeHex(new Uint8Array(digest)).slice(0, 16);
}
