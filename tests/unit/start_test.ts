/** What `start`, and the commands that use an instance, do with an existing one. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { start } from "../../lib/emulator/start.ts";
import { credentials } from "../../lib/guest/rotate.ts";
import { instancePath } from "../../lib/instance/channels.ts";
import { shareRun, tryEndRun } from "../../lib/instance/locks.ts";
import { type InstanceRecord, profileDigest, readRecord, writeRecord } from "../../lib/instance/record.ts";
import { play, testEmulator, testRecord } from "./emulators.ts";
import { Refusal } from "./played_machine.ts";
import { withDirectory } from "./temporary.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";

Deno.test("start: a paused instance continues with the right time, unless it cannot", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator, { phase: "stopping", isForRun: true });
    using _machine = machine;
    machine.status = "paused";
    machine.clockMs = -60_000;
    assertEquals(await start(emulator), { instance: "demo", urls: {}, ports: {}, timeline: [] });
    assertEquals([machine.status, machine.clockMs], ["running", 0]);
    assert(emulator.told.includes("it was paused, and continues"));
    assert(
      emulator.told.some((line) => line.startsWith("the guest's clock was 1m00s behind")),
      emulator.told.join("\n"),
    );
    const { phase, isForRun } = await readRecord(emulator) as InstanceRecord;
    assertEquals([phase, isForRun], ["running", false]);

    machine.status = "io-error";
    machine.answers["query-status"] = () => ({ running: false, status: "io-error" }); // and it stops again at once
    await assertRejects(() => start(emulator), HotbootError, "its disk cannot be written: free some space for");
  });
});

Deno.test("start: a warning appears if and only if the profile has changed", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine, record } = await play(emulator, { profileDigest: await profileDigest(emulator.profile) });
    using _machine = machine;
    await start(emulator);
    assertEquals(emulator.told.filter((line) => line.includes("has changed")), []);
    await writeRecord(emulator, { ...record, profileDigest: "another" });
    await start(emulator);
    assertMatch(emulator.told.join("\n"), /profile 'demo' has changed since instance 'demo' was started/);
  });
});

Deno.test("start: the monitor is free for others while it waits for health", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator);
    using _machine = machine;
    using web = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = web.addr as Deno.NetAddr;
    await writeRecord(emulator, { ...await readRecord(emulator) as InstanceRecord, ports: { web: port } });
    const profile = { ...emulator.profile, health: [{ name: "web", port: "web", path: "/" }] };
    const starting = start({ ...emulator, profile });
    const connection = await web.accept();
    await (await QmpClient.connect(`${emulator.home.instance("demo")}/monitor.sock`)).close();
    await connection.write(new TextEncoder().encode("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    connection.close();
    await starting;
  });
});

Deno.test("start: an instance of another profile, or an unusable one, is refused and left unchanged", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine, record } = await play(emulator);
    using _machine = machine;
    const other = { ...emulator, profile: { ...emulator.profile, name: "other" } };
    await assertRejects(() => start(other), HotbootError, "is running and belongs to profile 'demo'");
    machine.answers["query-uuid"] = () => new Refusal("no");
    await assertRejects(() => start(emulator), HotbootError, "does not answer");
    assertEquals(await readRecord(emulator), record);
    assertEquals(machine.commands.some((command) => /cont|quit|stop/.test(command)), false);
  });
});

Deno.test("credentials: an instance that keeps its disk has them; one that is starting does not", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator, { secrets: "rotated" });
    await Deno.writeTextFile(instancePath(emulator, "credentials"), '{"KEY":"value"}');
    assertEquals(await credentials(emulator), { KEY: "value" });
    machine[Symbol.dispose]();
    assertEquals(await credentials(emulator), { KEY: "value" });
    await Deno.writeTextFile(instancePath(emulator, "credentials"), '{"KEY":');
    await assertRejects(() => credentials(emulator), HotbootError, "credentials.json is not JSON)");
    await Deno.remove(instancePath(emulator, "credentials"));
    await assertRejects(() => credentials(emulator), HotbootError, "credentials.json is missing)");
    await writeRecord(emulator, testRecord({ secrets: "placeholders" }));
    await assertRejects(() => credentials(emulator), HotbootError, "was started without rotation");
    await writeRecord(emulator, testRecord());
    await assertRejects(() => credentials(emulator), HotbootError, "has no secrets");
    await writeRecord(emulator, testRecord({ phase: "starting", isDiskKept: false }));
    await assertRejects(() => credentials(emulator), HotbootError, "does not run");
  });
});

Deno.test("run: the last of several runs ends the instance that they started", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const first = await shareRun(emulator);
    const second = await shareRun(emulator);
    first[Symbol.dispose]();
    assertEquals(await tryEndRun(emulator), undefined);
    second[Symbol.dispose]();
    using last = await tryEndRun(emulator);
    assert(last);
  });
});
