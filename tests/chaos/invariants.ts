/** What must hold of a home after any fault. */

import { assert, assertEquals } from "@std/assert";
import { sleep } from "../../lib/base/wait.ts";
import type { Diagnosis } from "../../lib/doctor/doctor.ts";
import type { Finding } from "../../lib/doctor/finding.ts";
import type { StartResult } from "../../lib/emulator/start.ts";
import type { Status } from "../../lib/emulator/status.ts";
import type { SnapshotInfo } from "../../lib/emulator/snapshots.ts";
import type { InstanceInfo } from "../../lib/emulator/list.ts";
import { ENDING_MS, type GuestHome } from "../e2e/guest_home.ts";
import { assertCode, type Run } from "../e2e/program.ts";

/** A QEMU of a home. */
interface Machine {
  pid: number;
  uuid: string;
  /** `hotboot-INSTANCE`. */
  name: string;
}

/** Those that run. */
export async function machinesOf(home: GuestHome): Promise<Machine[]> {
  const found: Machine[] = [];
  for (const pid of await home.qemuProcesses()) {
    const args = await Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "");
    const uuid = args.match(/\0-uuid\0([0-9a-f-]{36})\0/)?.[1];
    const name = args.match(/\0-name\0guest=([^\0,]+)/)?.[1];
    if (uuid && name) found.push({ pid, uuid, name });
  }
  return found;
}

/** Kills all of the home's QEMUs. Returns how many. */
export async function killMachines(home: GuestHome): Promise<number> {
  const all = await home.qemuProcesses();
  for (const pid of all) {
    try {
      Deno.kill(pid, "SIGKILL");
    } catch {
      // it has ended
    }
  }
  return all.length;
}

/** No QEMU runs that no instance knows. One that is ending may still be there for a moment. */
export async function assertAllKnown(home: GuestHome): Promise<void> {
  let unknown: Machine[] = [];
  for (const end = Date.now() + ENDING_MS; Date.now() < end; await sleep(50)) {
    const known = new Set(await recordedUuids(home));
    unknown = (await machinesOf(home)).filter(({ uuid }) => !known.has(uuid));
    if (unknown.length === 0) return;
  }
  throw new Error(`QEMU runs, and no instance knows it: ${JSON.stringify(unknown)}`);
}

async function recordedUuids(home: GuestHome): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir(`${home.home}/instances`)) {
    const text = await Deno.readTextFile(`${home.home}/instances/${name}/instance.json`).catch(() => undefined);
    if (text !== undefined) found.push(JSON.parse(text).uuid); // whole, always
  }
  return found;
}

/** The instances, by their names. Nobody may be at work: `status` and `list` must say the same of each. */
export async function agreedStates(home: GuestHome): Promise<Map<string, InstanceInfo>> {
  const [listed, own]: [InstanceInfo[], Status] = await Promise.all([
    home.succeed("list", ["--json"]).then(JSON.parse),
    home.status(),
  ]);
  const states = new Map(listed.map((each) => [each.instance, each]));
  assertEquals(own.state, states.get(home.guest)?.state ?? "stopped", "'status' and 'list'");
  await Promise.all(
    listed.filter(({ instance }) => instance !== home.guest).map(async ({ instance, state }) => {
      assertEquals((await home.status("--instance", instance)).state, state, `'status' and 'list' of ${instance}`);
    }),
  );
  return states;
}

/** What `doctor --fix` has mended, and what it says that a user should do something about. */
export async function repaired(home: GuestHome): Promise<Finding[]> {
  const { stdout } = await home.run("doctor", ["--fix", "--json"]);
  const { findings }: Diagnosis = JSON.parse(stdout);
  return findings.filter(({ mark, fixed }) => fixed || mark === "warn" || mark === "fail");
}

/** Asserts that there is a checkpoint of this name, or none, and that no snapshot or checkpoint is damaged. */
export async function assertSnapshots(home: Pick<GuestHome, "succeed">, ...names: string[]): Promise<SnapshotInfo[]> {
  const all: SnapshotInfo[] = JSON.parse(await home.succeed("snapshot ls", ["--json"]));
  for (const { id, name, state, why } of all) assert(state === "usable", `${name ?? id} is ${state}: ${why}`);
  for (const name of names) assert(all.some((each) => each.name === name), `checkpoint '${name}' is gone`);
  return all;
}

/** The next start succeeds, and `status` and `list` know. */
export async function startNext(home: GuestHome): Promise<{ result: StartResult; run: Run }> {
  const run = await home.run("start", ["--json"]);
  assertCode(run, 0);
  const result: StartResult = JSON.parse(run.stdout);
  const state = (await agreedStates(home)).get(home.guest)?.state;
  assertEquals(state, "running", "after the start");
  return { result, run };
}
