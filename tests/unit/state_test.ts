/** An instance's state, from its record and from what answers. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { instancePath } from "../../lib/instance/channels.ts";
import type { Emulator } from "../../lib/instance/emulator.ts";
import { privateDirectory } from "../../lib/instance/home.ts";
import { lockInstance } from "../../lib/instance/locks.ts";
import { type InstanceRecord, writeRecord } from "../../lib/instance/record.ts";
import { requireUp, settledState, stateOf } from "../../lib/instance/state.ts";
import { play, testEmulator, testRecord } from "./emulators.ts";
import { Refusal } from "./played_machine.ts";
import { withDirectory } from "./temporary.ts";

const MEMORY: InstanceRecord["memory"] = {
  guest: { clock: "date", clockOffsetMs: 0, stoppedAt: 0, reseeds: false, frozen: [], notFrozen: [] },
  state: { size: 0, sample: "" },
};

async function kindOf(emulator: Emulator, options?: { isOwner?: boolean }): Promise<string> {
  await using state = await stateOf(emulator, options);
  return state.kind === "paused" ? `paused (${state.runState})` : state.kind;
}

Deno.test("state: without a QEMU, the record decides", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    assertEquals(await kindOf(emulator), "stopped");
    await privateDirectory(emulator.home.instance(emulator.instance));
    const at = "2026-01-01T00:00:00.000Z";
    for (
      const [expected, changes] of [
        ["crashed", {}],
        ["crashed", { phase: "stopping" }],
        ["crashed", { phase: "starting" }],
        ["stopped", { phase: "starting", isDiskKept: false }],
        ["shut down", { phase: "stopped", ended: { how: "shut down", at } }],
        ["suspended", { phase: "stopped", ended: { how: "suspended", at }, memory: MEMORY }],
        ["suspended", { phase: "starting", memory: MEMORY }], // killed before its guest ran
      ] as const
    ) {
      await writeRecord(emulator, testRecord(changes as object));
      assertEquals(await kindOf(emulator), expected, JSON.stringify(changes));
    }
  });
});

Deno.test("state: a QEMU that ends while it is asked has ended", async () => {
  await withDirectory(async (directory) => {
    for (const question of ["qmp_capabilities", "query-uuid"]) {
      const emulator = await testEmulator(directory, { instance: question.replace("_", "-") });
      const { machine } = await play(emulator);
      using _machine = machine;
      machine.onCommand = (command) => {
        if (command === question) machine[Symbol.dispose]();
      };
      assertEquals(await kindOf(emulator), "crashed", question);
    }
  });
});

Deno.test("state: with a QEMU, QEMU decides", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine, record } = await play(emulator);
    using _machine = machine;
    assertEquals(await kindOf(emulator), "running");
    for (const status of ["paused", "io-error", "postmigrate", "guest-panicked"]) {
      machine.status = status;
      assertEquals(await kindOf(emulator), `paused (${status})`);
    }
    machine.status = "running";
    await writeRecord(emulator, { ...record, phase: "stopping" }); // a stop was killed or failed
    assertEquals(await kindOf(emulator), "running");
    await writeRecord(emulator, { ...record, phase: "starting" });
    assertEquals(await kindOf(emulator), "abandoned");
    await writeRecord(emulator, { ...record, phase: "stopped", memory: MEMORY });
    assertEquals(await kindOf(emulator), "abandoned");
    await writeRecord(emulator, { ...record, uuid: crypto.randomUUID() }); // another machine's
    assertEquals(await kindOf(emulator), "crashed");
  });
});

Deno.test("state: while another command works on the instance, nothing touches the monitor", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    for (const phase of ["starting", "stopping"] as const) {
      const { machine } = await play(emulator, { phase });
      using _machine = machine;
      using _lock = await lockInstance(emulator);
      assertEquals(await kindOf(emulator), phase);
      assertEquals(machine.commands, []);
      assertEquals(await kindOf(emulator, { isOwner: true }), phase === "starting" ? "abandoned" : "running");
    }
  });
});

Deno.test({
  name: "state: an instance that was made after the command's permissions were given is starting",
  permissions: { read: true, write: true, env: true, net: false, sys: true, run: true },
  async fn() {
    await withDirectory(async (directory) => {
      const emulator = await testEmulator(directory);
      await privateDirectory(emulator.home.instance(emulator.instance));
      assertEquals(await kindOf(emulator), "stopped"); // its record comes before its machine
      await writeRecord(emulator, testRecord());
      assertEquals(await kindOf(emulator), "starting");
      await assertRejects(() => kindOf(emulator, { isOwner: true }), Deno.errors.NotCapable);
    });
  },
});

Deno.test("state: another command ends or starts the machine while it is looked at", async () => {
  for (
    const [expected, hasEnded, after] of [
      ["stopped", true, undefined],
      ["suspended", true, testRecord({ phase: "stopped", memory: MEMORY })],
      ["running", false, testRecord({ origin: "continue" })],
    ] as const
  ) {
    await withDirectory(async (directory) => {
      const emulator = await testEmulator(directory);
      const { machine, record } = await play(emulator, { phase: hasEnded ? "running" : "starting" });
      using _machine = machine;
      machine.onCommand = async () => {
        machine.onCommand = () => {};
        if (after) await writeRecord(emulator, { ...after, uuid: record.uuid });
        else await Deno.remove(instancePath(emulator, "record"));
        if (hasEnded) machine[Symbol.dispose]();
      };
      assertEquals(await kindOf(emulator), expected);
    });
  }
});

Deno.test("state: an unreadable record means damaged, whatever runs", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator);
    for (const text of ["{", "", "{}", "[]", '"x"', "null", '{"profile":"demo"}']) {
      await Deno.writeTextFile(instancePath(emulator, "record"), text);
      assertEquals(await kindOf(emulator), "damaged", text);
      const error = await assertRejects(() => settledState(emulator), HotbootError);
      assertMatch(error.message, /instance.json .*'hotboot reset' drops it, with its disk \(.*disk\.qcow2\)/);
    }
    await Deno.remove(instancePath(emulator, "record"));
    assertEquals(await kindOf(emulator), "damaged"); // something runs, but nobody knows what
    machine[Symbol.dispose]();
    assertEquals(await kindOf(emulator), "stopped");
    await Deno.writeTextFile(instancePath(emulator, "record"), "");
    assertEquals(await kindOf(emulator), "damaged");
  });
});

Deno.test("state: an unresponsive QEMU is reported, with its process id and a remedy", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator, { pid: 4711 });
    using _machine = machine;
    machine.answers["query-uuid"] = () => new Refusal("busy with itself");
    assertEquals(await kindOf(emulator), "unresponsive");
    const error = await assertRejects(() => requireUp(emulator), HotbootError);
    assertMatch(error.message, /\(process 4711\) does not answer: .*busy with itself.*'hotboot reset'/);
  });
});

Deno.test("state: no command acts on another profile's machine, or on one that is not up", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const other = { ...emulator, profile: { ...emulator.profile, name: "other" } };
    const { machine, record } = await play(emulator);
    for (const refused of [requireUp, settledState]) {
      const error = await assertRejects(() => refused(other), HotbootError);
      assertMatch(
        error.message,
        /is running and belongs to profile 'demo': type --profile demo, or name another --instance/,
      );
    }
    machine.status = "io-error";
    await assertRejects(
      () => requireUp(emulator),
      HotbootError,
      "is paused: its disk cannot be written: free some space",
    );
    machine[Symbol.dispose]();
    await assertRejects(() => settledState(other), HotbootError, "is crashed and belongs to profile 'demo'");
    await assertRejects(() => requireUp(emulator), HotbootError, "it is crashed: 'hotboot start' continues it");
    await writeRecord(emulator, { ...record, isDiskKept: false, phase: "starting" });
    await assertRejects(() => requireUp(emulator), HotbootError, "does not run: 'hotboot start' starts it");
  });
});

Deno.test("state: the next command ends what a killed command has left", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator, { phase: "starting", isDiskKept: false });
    await using state = await settledState(emulator);
    assertEquals([state.kind, machine.commands.at(-1)], ["stopped", "quit"]);
  });
});

Deno.test("state: the files of version 0.1 are taken over", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const path = emulator.home.instance(emulator.instance);
    await privateDirectory(path);
    const common = { profile: "demo", identity: { memory: "1024 MiB" }, secrets: "rotated" };
    const stopped = "2026-01-01T00:00:00.000Z";
    await Deno.writeTextFile(
      `${path}/kept.json`,
      JSON.stringify({ ...common, how: "suspended", stopped, memory: MEMORY }),
    );
    {
      await using state = await stateOf(emulator);
      assertEquals(state.kind, "suspended");
      const record = "record" in state ? state.record! : testRecord();
      assertEquals([record.secrets, record.identity, record.memory], [
        "rotated",
        common.identity,
        MEMORY,
      ]);
      await writeRecord(emulator, record);
    }
    assertEquals(await kindOf(emulator), "suspended"); // in the new format
    await Deno.writeTextFile(`${path}/kept.json`, JSON.stringify({ ...common, how: "shut down", stopped }));
    await Deno.remove(`${path}/instance.json`);
    assertEquals(await kindOf(emulator), "shut down");
    await Deno.writeTextFile(`${path}/kept.json`, "");
    assertEquals(await kindOf(emulator), "damaged"); // not "nothing kept"
    await Deno.remove(`${path}/kept.json`);
    const running = {
      ...common,
      uuid: crypto.randomUUID(),
      state: "running",
      origin: "resume",
      started: stopped,
      ports: {},
    };
    await Deno.writeTextFile(`${path}/instance.json`, JSON.stringify(running));
    assertEquals(await kindOf(emulator), "crashed");
  });
});
