/** Listing, stopping and awaiting the instances of a home. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { exists } from "@std/fs/exists";
import { HotbootError } from "../../lib/base/error.ts";
import { listInstances } from "../../lib/emulator/list.ts";
import { stopAll } from "../../lib/emulator/stop_all.ts";
import { waitFor } from "../../lib/emulator/wait.ts";
import { instancePath } from "../../lib/instance/channels.ts";
import { type Emulator, withInstance } from "../../lib/instance/emulator.ts";
import { privateDirectory } from "../../lib/instance/home.ts";
import { lockInstance } from "../../lib/instance/locks.ts";
import { type InstanceRecord, readRecord, writeRecord } from "../../lib/instance/record.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import { play, testEmulator, testRecord } from "./emulators.ts";
import { freePorts } from "./free_ports.ts";
import { Refusal } from "./played_machine.ts";
import { withDirectory } from "./temporary.ts";

const AT = "2026-01-01T00:00:00.000Z";

/** Another instance of the same home, with its record. */
async function keep(emulator: Emulator, instance: string, changes: Partial<InstanceRecord>): Promise<Emulator> {
  const one = await withInstance(emulator, instance);
  await privateDirectory(one.home.instance(instance));
  await writeRecord(one, testRecord(changes));
  return one;
}

Deno.test("list: shows instances of every profile, in every state, with their size on disk", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    assertEquals(await listInstances(emulator), []);
    const { machine } = await play(emulator, { ports: { web: 4711 }, pid: 42, snapshot: "s" });
    using _machine = machine;
    const other = await withInstance(emulator, "other");
    const { machine: second } = await play(other, { profile: "other", ports: { api: 4712 } });
    using _second = second;
    second.status = "paused";
    await keep(emulator, "broken", {});
    await Deno.writeTextFile(`${emulator.home.instance("broken")}/instance.json`, "{");
    const kept = await keep(emulator, "kept", { phase: "stopped", ended: { how: "shut down", at: AT }, arch: "arm64" });
    await Deno.writeFile(instancePath(kept, "disk"), new Uint8Array(1 << 20).fill(1));
    await privateDirectory(emulator.home.instance("empty"));

    const listed = await listInstances(emulator);
    const { bytes } = listed.find(({ instance }) => instance === "kept")!;
    assert(bytes >= 1 << 20 && bytes < 2 << 20, String(bytes));
    const damaged = listed.find(({ state }) => state === "damaged")!;
    assertMatch(
      damaged.why!,
      /^instance 'broken' cannot be used: .*instance\.json is not JSON; 'hotboot reset --instance broken' drops it/,
    );
    const paused = listed.find(({ state }) => state === "paused")!;
    assertMatch(paused.why!, /its CPUs were stopped/);
    assertEquals(listed.map(({ bytes: _, why: __, ...rest }) => rest), [
      { instance: "broken", state: "damaged" },
      {
        instance: "demo",
        profile: "demo",
        arch: "amd64",
        state: "running",
        running: {
          origin: "resume",
          started: AT,
          pid: 42,
          ports: { web: 4711 },
          urls: { web: "http://127.0.0.1:4711" },
        },
        snapshot: "s",
      },
      { instance: "empty", state: "stopped" },
      { instance: "kept", profile: "demo", arch: "arm64", state: "shut down", ended: AT },
      {
        instance: "other",
        profile: "other",
        arch: "amd64",
        state: "paused",
        running: { origin: "resume", started: AT, ports: { api: 4712 }, urls: { api: "http://127.0.0.1:4712" } },
      },
    ]);
    // Their monitors are free.
    for (const name of ["demo", "other"]) {
      await (await QmpClient.connect(`${emulator.home.instance(name)}/monitor.sock`)).close();
    }
  }));

Deno.test("list: an instance that is starting is left alone", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator, { phase: "starting" });
    using _machine = machine;
    using _lock = await lockInstance(emulator);
    assertEquals((await listInstances(emulator)).map(({ state }) => state), ["starting"]);
    assertEquals(machine.commands, []);
  }));

Deno.test("stop --all: stops this profile's running instances and no others, even if one of them fails", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const machines = await Promise.all(
      ["a", "b", "c"].map(async (name) => await play(await withInstance(emulator, name))),
    );
    const other = await play(await withInstance(emulator, "other"), { profile: "other" });
    const kept = await keep(emulator, "kept", { phase: "stopped", ended: { how: "shut down", at: AT } });
    await Deno.writeTextFile(instancePath(kept, "disk"), "the user's");
    await keep(emulator, "broken", {});
    await Deno.writeTextFile(`${emulator.home.instance("broken")}/instance.json`, "{");
    machines[0].machine.answers["migrate"] = () => new Refusal("a device that cannot be saved");

    const { stopped, failed, others } = await stopAll(emulator);
    assertEquals(stopped, [{ instance: "b", kept: "suspended" }, { instance: "c", kept: "suspended" }]);
    assertEquals(failed.map(({ instance }) => instance), ["a"]);
    assertMatch(failed[0].why, /^not suspended, the guest still runs: .*cannot be saved/);
    assertEquals([others, other.machine.commands.includes("quit")], [1, false]);

    assertEquals(await stopAll(emulator, { how: "discard" }), { stopped: [{ instance: "a" }], failed: [], others: 1 });
    assert(await exists(instancePath(kept, "disk"))); // it did not run
    assertEquals((await readRecord(await withInstance(emulator, "b")) as InstanceRecord).phase, "stopped");
    other.machine[Symbol.dispose]();
    assertEquals(await stopAll(emulator), { stopped: [], failed: [], others: 0 });
  }));

Deno.test("stop --all: a running instance that is damaged or does not answer is a failure", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator);
    using _machine = machine;
    const deaf = await play(await withInstance(emulator, "deaf"));
    using _deaf = deaf.machine;
    deaf.machine.answers["query-uuid"] = () => new Refusal("no");
    await Deno.writeTextFile(instancePath(emulator, "record"), "{");
    const { stopped, failed } = await stopAll(emulator, { how: "discard" });
    assertEquals(stopped, []);
    assertEquals(failed.map(({ instance }) => instance), ["deaf", "demo"]);
    assertMatch(failed[0].why, /does not answer/);
    assertMatch(failed[1].why, /it runs, but .*instance\.json is not JSON/);
  }));

Deno.test("stop --all: ends what a killed start has left, and does not wait for an image build", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const left = await play(emulator, { phase: "starting", isDiskKept: false });
    const builder = await withInstance(emulator, "build-demo-amd64");
    const { machine } = await play(builder, { phase: "starting", isDiskKept: false });
    using _machine = machine;
    using _lock = await lockInstance(builder);
    assertEquals(await stopAll(emulator), { stopped: [{ instance: "demo" }], failed: [], others: 0 });
    assertEquals([left.machine.commands.at(-1), machine.commands], ["quit", []]);
  }));

Deno.test("stop --all: can be interrupted", () =>
  withDirectory(async (directory) => {
    const interrupt = new AbortController();
    const emulator = await testEmulator(directory, { signal: interrupt.signal });
    const { machine } = await play(emulator);
    using _machine = machine;
    const next = await play(await withInstance(emulator, "next"));
    using _next = next.machine;
    machine.onCommand = () => interrupt.abort(new Error("enough"));
    await assertRejects(() => stopAll(emulator), Error, "enough");
    assertEquals([machine, next.machine].map(({ status }) => status), ["running", "running"]);
  }));

Deno.test("wait: waits until the instance is healthy, not merely up, and a timeout says what is missing", () =>
  withDirectory(async (directory) => {
    const plain = await testEmulator(directory);
    const [port] = freePorts(1);
    const profile = { ...plain.profile, health: [{ name: "web", port: "web", path: "/" }] };
    const emulator = { ...plain, profile };
    const missing = async (stopped = false) =>
      (await assertRejects(() => waitFor(emulator, { timeoutMs: 0, stopped }), HotbootError)).message;
    assertEquals(await missing(), "instance 'demo' is not up after 0 s: it is stopped; wait longer (--timeout)");
    const { machine } = await play(emulator, { ports: { web: port } });
    using _machine = machine;
    assertEquals(await missing(), "instance 'demo' is not up after 0 s: not healthy: web; wait longer (--timeout)");
    machine.status = "paused";
    assertMatch(await missing(), /is not up after 0 s: its CPUs were stopped/);
    machine.status = "running";
    assertEquals(await missing(true), "instance 'demo' still runs after 0 s: it is running; wait longer (--timeout)");

    const waiting = waitFor(emulator);
    await using web = Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, () => new Response());
    const { state, running } = await waiting;
    assertEquals([state, running?.urls, running?.health], ["running", { web: `http://127.0.0.1:${web.addr.port}` }, {
      web: true,
    }]);
    await (await QmpClient.connect(`${emulator.home.instance("demo")}/monitor.sock`)).close();
  }));

Deno.test("wait --stopped: waits until QEMU has ended, also while another command works on the instance", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    assertEquals(await waitFor(emulator, { stopped: true }), { state: "stopped" });
    const { machine, record } = await play(emulator, { phase: "stopping" });
    let waiting: Promise<unknown>;
    {
      using _lock = await lockInstance(emulator);
      waiting = waitFor(emulator, { stopped: true });
      machine[Symbol.dispose]();
      await writeRecord(emulator, { ...record, phase: "stopped", ended: { how: "shut down", at: AT } });
    }
    assertEquals(await waiting, { state: "shut down" });
  }));

Deno.test("wait: refuses at once what will never happen, and can be interrupted", () =>
  withDirectory(async (directory) => {
    const interrupt = new AbortController();
    const emulator = await testEmulator(directory, { signal: interrupt.signal });
    const { machine } = await play(emulator, { profile: "other" });
    await assertRejects(() => waitFor(emulator), HotbootError, "instance 'demo' is running, and of profile 'other'");
    machine[Symbol.dispose]();
    await Deno.writeTextFile(instancePath(emulator, "record"), "{");
    for (const stopped of [true, false]) {
      await assertRejects(() => waitFor(emulator, { stopped }), HotbootError, "'hotboot reset' drops it");
    }
    await Deno.remove(emulator.home.instance("demo"), { recursive: true });
    const waiting = waitFor(emulator);
    interrupt.abort(new Error("enough"));
    await assertRejects(() => waiting, Error, "enough");
  }));
