/** What `stop` and `reset` do, step by step, and what is left when a step fails. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { exists } from "@std/fs/exists";
import { HotbootError } from "../../lib/base/error.ts";
import { reset, stop } from "../../lib/emulator/stop.ts";
import { instancePath } from "../../lib/instance/channels.ts";
import type { Emulator } from "../../lib/instance/emulator.ts";
import { type InstanceRecord, readRecord, writeRecord } from "../../lib/instance/record.ts";
import { stateOf } from "../../lib/instance/state.ts";
import { play, testEmulator } from "./emulators.ts";
import { Refusal } from "./played_machine.ts";
import { withDirectory } from "./temporary.ts";

async function recordOf(emulator: Emulator): Promise<InstanceRecord> {
  return await readRecord(emulator) as InstanceRecord;
}

async function kindOf(emulator: Emulator): Promise<string> {
  await using state = await stateOf(emulator);
  return state.kind;
}

async function keepDisk(emulator: Emulator): Promise<string> {
  const path = instancePath(emulator, "disk");
  await Deno.writeTextFile(path, "the user's");
  return path;
}

Deno.test("stop: a suspension records each step before it relies on it", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine, record } = await play(emulator);
    const disk = await keepDisk(emulator);
    const phases: Record<string, string> = {};
    machine.onCommand = async (command) => {
      const { phase, memory } = await recordOf(emulator);
      phases[command] = memory ? `${phase}, with its memory` : phase;
    };
    assertEquals(await stop(emulator), { stopped: true, kept: "suspended" });
    assertEquals([phases.stop, phases.migrate, phases.quit], ["stopping", "stopping", "stopped, with its memory"]);
    assertEquals(await Deno.readTextFile(instancePath(emulator, "memory")), "all that is in its memory");
    const { memory, ended, uuid } = await recordOf(emulator);
    assertEquals([memory?.guest.clock, ended?.how, uuid], ["shift", "suspended", record.uuid]);
    assertEquals(await kindOf(emulator), "suspended");
    assert(await exists(disk));
    assertEquals(await stop(emulator), { stopped: false, kept: "suspended" });
    assertEquals(await stop(emulator, { how: "discard" }), { stopped: false });
    assertEquals([await kindOf(emulator), await exists(disk)], ["stopped", false]);
  });
});

Deno.test("stop: if the memory cannot be saved, the guest runs on and no file is left", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator);
    using _machine = machine;
    machine.answers["migrate"] = () => new Refusal("a device that cannot be saved");
    const error = await assertRejects(() => stop(emulator), HotbootError);
    assertMatch(error.message, /^not suspended, the guest still runs: .*cannot be saved.*'hotboot stop --shutdown'/);
    assertEquals([machine.status, await kindOf(emulator)], ["running", "running"]);
    assertEquals((await recordOf(emulator)).memory, undefined);
    assertEquals(await exists(instancePath(emulator, "memory")), false);
  });
});

Deno.test("stop: an interrupt during the save cancels the save, then the guest runs on", async () => {
  await withDirectory(async (directory) => {
    const interrupt = new AbortController();
    const emulator = await testEmulator(directory, { signal: interrupt.signal });
    const { machine } = await play(emulator);
    using _machine = machine;
    machine.answers["migrate"] = () => {
      machine.migration = { status: "active" };
      queueMicrotask(() => interrupt.abort(new Error("enough")));
      return {};
    };
    machine.answers["migrate_cancel"] = () => {
      machine.migration = { status: "cancelled" };
      return {};
    };
    machine.answers["cont"] = () => machine.migration.status === "active" ? new Refusal("it is being saved") : {};
    await assertRejects(() => stop(emulator), Error, "enough");
    const order = machine.commands.filter((command) => /^migrate|^cont$/.test(command) && !/set/.test(command));
    assertEquals(order, ["migrate", "migrate_cancel", "cont"]);
    assertEquals([machine.status, (await recordOf(emulator)).phase], ["running", "running"]);
  });
});

Deno.test("stop: if a killed stop saved everything but did not record it, the next stop suspends again", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator, { phase: "stopping" });
    machine.status = "postmigrate";
    assertEquals(await stop(emulator), { stopped: true, kept: "suspended" });
    assertEquals(machine.commands.filter((command) => /^(cont|stop)$/.test(command)), ["cont", "stop"]);
  });
});

Deno.test("stop: a paused guest, or one without an agent, has no clock to set when it continues", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator);
    machine.status = "paused";
    await stop(emulator);
    assertEquals((await recordOf(emulator)).memory?.guest.clock, "nothing");
    assertEquals(machine.commands.includes("cont"), false);
    await stop(emulator, { how: "discard" });

    await play(emulator, {}, { agent: false });
    await stop(emulator);
    assertEquals((await recordOf(emulator)).memory?.guest.clock, "nothing");
  });
});

Deno.test("stop: the guest's architecture decides which system calls set its clock", async () => {
  await withDirectory(async (directory) => {
    for (const [arch, numbers] of [["amd64", "'228' '227'"], ["arm64", "'113' '112'"]] as const) {
      const emulator = await testEmulator(directory, { instance: arch });
      const { machine } = await play(emulator, { arch });
      await stop(emulator);
      assert(machine.scripts.some((script) => script.includes(` ${numbers} `)), machine.scripts.join("\n"));
    }
  });
});

Deno.test("stop --shutdown: keeps the disk; an interrupt leaves the instance running", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const disk = instancePath(emulator, "disk");
    {
      const interrupt = new AbortController();
      const { machine } = await play(emulator);
      using _machine = machine;
      await keepDisk(emulator);
      machine.answers["guest-shutdown"] = () => {
        interrupt.abort(new Error("enough"));
        return new Refusal("it has no way to");
      };
      await assertRejects(() => stop({ ...emulator, signal: interrupt.signal }, { how: "shutdown" }), Error, "enough");
      assertEquals(await kindOf(emulator), "running");
    }
    const { machine } = await play(emulator);
    let phase = "";
    machine.answers["guest-shutdown"] = () => void recordOf(emulator).then((record) => phase = record.phase);
    assertEquals(await stop(emulator, { how: "shutdown" }), { stopped: true, kept: "shut down" });
    assertEquals([phase, await kindOf(emulator), await exists(disk)], ["stopping", "shut down", true]);
  });
});

Deno.test("stop: if QEMU ends by itself, the user's disk stays until it is discarded", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator);
    const disk = await keepDisk(emulator);
    machine[Symbol.dispose]();
    for (const how of ["suspend", "shutdown"] as const) {
      assertEquals(await stop(emulator, { how }), { stopped: false, kept: "crashed" });
      assert(await exists(disk));
    }
    assertEquals(await stop(emulator, { how: "discard" }), { stopped: false });
    assertEquals(await exists(disk), false);
  });
});

Deno.test("stop and reset: another profile's instance is not touched, running or stopped", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const other = { ...emulator, profile: { ...emulator.profile, name: "other" } };
    const { machine } = await play(emulator);
    const disk = await keepDisk(emulator);
    for (const running of [true, false]) {
      if (!running) machine[Symbol.dispose]();
      for (const act of [() => stop(other), () => stop(other, { how: "discard" }), () => reset(other)]) {
        const error = await assertRejects(act, HotbootError);
        assertMatch(error.message, /profile 'demo': type --profile demo, or name another --instance/);
      }
      assertEquals([machine.commands.includes("quit"), await exists(disk)], [false, true]);
    }
  });
});

Deno.test("reset: ends and removes a damaged instance, which nothing else does", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator);
    const disk = await keepDisk(emulator);
    await Deno.writeTextFile(instancePath(emulator, "record"), "");
    await assertRejects(() => stop(emulator, { how: "discard" }), HotbootError, "'hotboot reset' drops it");
    assertEquals([machine.commands.includes("quit"), await exists(disk)], [false, true]);
    assertEquals(await reset(emulator), { stopped: true });
    assertEquals([machine.commands.at(-1), await exists(emulator.home.instance(emulator.instance))], ["quit", false]);
  });
});

Deno.test("stop: what a killed first start has left is dropped; another program's disk is kept", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator, { phase: "starting", isDiskKept: false });
    const disk = await keepDisk(emulator);
    assertEquals(await stop(emulator), { stopped: false });
    assertEquals([machine.commands.at(-1), await exists(disk)], ["quit", false]);
    await keepDisk(emulator);
    assertEquals(await stop(emulator, { how: "discard" }), { stopped: false });
    assert(await exists(disk));
  });
});

Deno.test("stop: the error says that the disk has no room for the memory, and what to do", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine, record } = await play(emulator);
    using _machine = machine;
    machine.answers["migrate"] = () => new Refusal("No space left on device");
    const error = await assertRejects(() => stop(emulator), HotbootError);
    assertMatch(error.message, /free some space on the disk of hotboot's home/);
    await writeRecord(emulator, record);
  });
});
