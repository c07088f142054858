/** The host ports that an instance gets, keeps and gives up, and what the guest learns about them. */

import { assertEquals, assertMatch, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { exists } from "@std/fs/exists";
import { HotbootError } from "../../lib/base/error.ts";
import { readArguments } from "../../lib/cli/commands/command.ts";
import { command as startCommand } from "../../lib/cli/commands/start.ts";
import { portsOption } from "../../lib/cli/commands/starting.ts";
import { grantsOf } from "../../lib/cli/permissions/grants.ts";
import { preparePorts, takePorts } from "../../lib/emulator/ports.ts";
import { start } from "../../lib/emulator/start.ts";
import { reset, stop } from "../../lib/emulator/stop.ts";
import { makeConfigDisk } from "../../lib/instance/config_disk.ts";
import { type Emulator, openEmulator, withInstance } from "../../lib/instance/emulator.ts";
import { privateDirectory } from "../../lib/instance/home.ts";
import { machineIdentity } from "../../lib/instance/identity.ts";
import type { Setup } from "../../lib/instance/machine.ts";
import { writeRecord } from "../../lib/instance/record.ts";
import { play, testRecord } from "./emulators.ts";
import { freePorts } from "./free_ports.ts";
import { withDirectory } from "./temporary.ts";

/** The demo with free host ports. The instance is not the profile's own, unless named. */
async function demoWith(directory: string, instance = "b"): Promise<Emulator> {
  const opened = await openEmulator({ profile: "demo", home: `${directory}/home`, instance });
  const [backend, dashboard] = freePorts(2);
  const { ports, secrets: _, rotation: __, ...profile } = opened.profile;
  const other = {
    ...profile,
    health: [],
    freeze: [],
    ports: { backend: { ...ports.backend, host: backend }, dashboard: { ...ports.dashboard, host: dashboard } },
  };
  return await withInstance({ ...opened, profile: other }, instance);
}

function hosts({ ports }: Pick<Emulator, "ports">): number[] {
  return Object.values(ports).map(({ host }) => host);
}

async function rememberedIn(emulator: Emulator): Promise<number[]> {
  return hosts(await withInstance(emulator, emulator.instance));
}

function listen(port: number): Deno.Listener {
  return Deno.listen({ hostname: "127.0.0.1", port });
}

Deno.test("ports: the profile's own instance has the profile's ports; another gets others and keeps them", () =>
  withDirectory(async (directory) => {
    const b = await demoWith(directory);
    const own = await withInstance(b, "demo");
    assertEquals(hosts(await takePorts(own, { isFresh: true })), hosts(b.profile));
    const taken = await takePorts(b, { isFresh: true });
    assertEquals(new Set([...hosts(taken), ...hosts(b.profile)]).size, 4);
    assertEquals(hosts(await takePorts(b, { isFresh: true })), hosts(taken));
    assertEquals(await rememberedIn(b), hosts(taken));
    const opened = await openEmulator({ profile: "demo", home: `${directory}/home`, instance: "b" });
    assertEquals(hosts(opened).sort(), hosts(taken).sort());
    const third = await takePorts(await withInstance(b, "c"), { isFresh: true });
    assertEquals(new Set([...hosts(taken), ...hosts(third)]).size, 4);
  }));

Deno.test("ports: instances that choose at the same time choose different ports", () =>
  withDirectory(async (directory) => {
    const b = await demoWith(directory);
    const names = Array.from({ length: 8 }, (_, index) => `i${index}`);
    const all = await Promise.all(
      names.map(async (name) => hosts(await takePorts(await withInstance(b, name), { isFresh: true }))),
    );
    assertEquals(new Set(all.flat()).size, 16);
  }));

Deno.test("ports: they survive a discard but not a reset", () =>
  withDirectory(async (directory) => {
    const b = await demoWith(directory);
    const first = hosts(await takePorts(b, { isFresh: true }));
    await play(b);
    assertEquals((await stop(b, { how: "discard" })).stopped, true);
    assertEquals(await rememberedIn(b), first);
    await reset(b);
    assertEquals(await rememberedIn(b), hosts(b.profile));
  }));

Deno.test("ports: a taken port is replaced if nothing is kept; otherwise the error says what to type", () =>
  withDirectory(async (directory) => {
    const b = await demoWith(directory);
    const [backend, dashboard] = hosts(await takePorts(b, { isFresh: true }));
    using _other = listen(backend);
    const error = await assertRejects(() => takePorts(b, { isFresh: false }), HotbootError);
    assertEquals(
      error.message,
      `port ${backend} ('backend') is taken by another program: end that program, or name another ('hotboot start --instance b --port backend=N')`,
    );
    const next = hosts(await takePorts(b, { isFresh: true }));
    assertNotEquals(next[0], backend);
    assertEquals(next[1], dashboard);
    assertEquals(await rememberedIn(b), next);
  }));

Deno.test("ports: if another instance has a port, the error names that instance", () =>
  withDirectory(async (directory) => {
    const b = await demoWith(directory);
    const { backend } = (await takePorts(b, { isFresh: true })).ports;
    const c = await withInstance(b, "c");
    const { machine } = await play(c, { ports: { backend: backend.host } });
    using _machine = machine;
    using _other = listen(backend.host);
    const error = await assertRejects(() => takePorts(b, { isFresh: false }), HotbootError);
    assertMatch(
      error.message,
      /belongs to instance 'c': stop it \('hotboot stop --profile demo --instance c'\), or name/,
    );
  }));

Deno.test("ports: the profile's own instance gets an error that points to the profile", () =>
  withDirectory(async (directory) => {
    const own = await demoWith(directory, "demo");
    const [backend] = hosts(own);
    using _other = listen(backend);
    const error = await assertRejects(() => takePorts(own, { isFresh: true }), HotbootError);
    assertMatch(error.message, /is taken by another program: end that program, or change ports\.backend\.host in the/);
  }));

Deno.test("ports: a requested port is kept, also by the profile's own instance, and never replaced", () =>
  withDirectory(async (directory) => {
    for (const name of ["demo", "b"]) {
      const emulator = await demoWith(directory, name);
      const [asked] = freePorts(1);
      const { ports } = await takePorts(emulator, { asked: { backend: asked }, isFresh: true });
      assertEquals(ports.backend.host, asked);
      assertEquals((await rememberedIn(emulator))[0], asked);
      using _other = listen(asked);
      const error = await assertRejects(() => takePorts(emulator, { isFresh: true }), HotbootError);
      assertMatch(
        error.message,
        new RegExp(`or name another \\('hotboot start --instance ${name} --port backend=N'\\)$`),
      );
    }
  }));

Deno.test("ports: an impossible request is not remembered", () =>
  withDirectory(async (directory) => {
    const b = await demoWith(directory);
    const before = hosts(await takePorts(b, { isFresh: true }));
    const [free, taken] = freePorts(2);
    using _other = listen(taken);
    for (
      const [asked, why] of [
        [{ backend: taken }, /is taken by another program/],
        [{ backend: free, dashboard: free }, /would be both 'backend' and 'dashboard'/],
        [{ nope: free }, /profile 'demo' has no port 'nope'/],
        [{ backend: 0 }, /is 0: use a whole number from 1 to 65535/],
        [{ backend: 65_536 }, /is 65536/],
        [{ backend: 1.5 }, /is 1\.5/],
      ] as const
    ) {
      const error = await assertRejects(() => takePorts(b, { asked: { ...asked }, isFresh: true }), HotbootError);
      assertMatch(error.message, why);
      assertEquals(await rememberedIn(b), before);
    }
  }));

Deno.test("ports: a running instance keeps its ports, and a start that asks for the same ones succeeds", () =>
  withDirectory(async (directory) => {
    const b = await demoWith(directory);
    const { machine } = await play(b, { ports: { backend: 4711, dashboard: 4712 } });
    using _machine = machine;
    const error = await assertRejects(() => start(b, { ports: { backend: 4713 } }), HotbootError);
    assertMatch(error.message, /^instance 'b' runs, .*: stop it first \('hotboot stop --instance b'\)$/);
    assertMatch((await start(b, { ports: { backend: 4711 } })).urls.backend, /:4711$/);
    assertEquals(await rememberedIn(b), hosts(b.profile));
  }));

Deno.test("ports: if the remembered ports are unreadable, new ones are chosen", () =>
  withDirectory(async (directory) => {
    const b = await demoWith(directory);
    await privateDirectory(b.home.instance("b"));
    for (const text of ["", "{", "null", "[]", '"x"', '{"backend":"x","dashboard":{"port":70000}}']) {
      await Deno.writeTextFile(`${b.home.instance("b")}/ports.json`, text);
      const found = hosts(await takePorts(await withInstance(b, "b"), { isFresh: false }));
      assertEquals(new Set([...found, ...hosts(b.profile)]).size, 4, text);
    }
  }));

Deno.test("ports: the launcher chooses them before the start, which may use no others", () =>
  withDirectory(async (directory) => {
    const b = await demoWith(directory);
    await preparePorts(b);
    const [backend, dashboard] = await rememberedIn(b);
    assertNotEquals(backend, b.profile.ports.backend.host);
    await preparePorts(b);
    assertEquals(await rememberedIn(b), [backend, dashboard]);
    const granted = async (emulator: Emulator) =>
      (await grantsOf("start", { emulator, named: () => [], switches: new Set() })).net
        .filter((peer) => peer.startsWith("127."));
    assertEquals(await granted(await withInstance(b, "b")), [`127.0.0.1:${backend}`, `127.0.0.1:${dashboard}`]);

    using _other = listen(backend);
    await writeRecord(b, testRecord({ phase: "stopped", ended: { how: "shut down", at: "2026-01-01T00:00:00.000Z" } }));
    await preparePorts(b);
    assertEquals(await rememberedIn(b), [backend, dashboard]); // somebody may rely on it
    await Deno.remove(`${b.home.instance("b")}/instance.json`);
    await preparePorts(b);
    assertNotEquals((await rememberedIn(b))[0], backend);
    await preparePorts(await withInstance(b, "demo"));
    assertEquals(await exists(b.home.instance("demo")), false);
  }));

Deno.test("ports: a start warns of another program on the same port of ::1, where localhost may lead", () =>
  withDirectory(async (directory) => {
    const demo = await demoWith(directory);
    const told: string[] = [];
    const b = { ...demo, report: { ...demo.report, warn: (text: string) => void told.push(text) } };
    const { ports } = await takePorts(b, { isFresh: true });
    assertEquals(told, []);
    const { host } = ports.backend;
    using _other = Deno.listen({ hostname: "::1", port: host });
    await takePorts(b, { isFresh: true });
    assertEquals(told, [
      `another program listens on [::1]:${host}, where 'localhost:${host}' may lead: use 127.0.0.1:${host}, or end that program`,
    ]);
  }));

Deno.test("ports: the config disk and the machine's identity are the same for all instances", () =>
  withDirectory(async (directory) => {
    const b = await takePorts(await demoWith(directory), { isFresh: true });
    const own = await withInstance(b, "demo");
    const [one, other] = [await makeConfigDisk(own), await makeConfigDisk(b)];
    assertEquals(one, other);
    const qemu = { version: "1", machineType: "q35", accelerator: "tcg", cpuModel: "max", cpuFeatures: "" };
    const image = { paths: { disk: "disk" }, record: { files: { disk: { sha256: "x" } } } };
    const setup = { qemu, image, config: one } as unknown as Setup;
    assertEquals(machineIdentity(own, setup), machineIdentity(b, setup));
  }));

Deno.test("ports: --port takes a name from the profile and a port number, and may be repeated", () =>
  withDirectory(async (directory) => {
    const { profile } = await demoWith(directory);
    const read = (...args: string[]) => portsOption(readArguments("start", startCommand, args), profile);
    assertEquals(read(), {});
    assertEquals(read("--port", "backend=20001", "--cold", "--port=dashboard=20002"), {
      backend: 20_001,
      dashboard: 20_002,
    });
    for (
      const text of ["x", "backend", "backend=", "backend=x", "backend=0", "backend=65536", "nope=1", "backend=-1"]
    ) {
      const error = assertThrows(() => read("--port", text), HotbootError);
      assertEquals(
        error.message,
        `--port takes NAME=N with a port of the profile (backend, dashboard) and a number from 1 to 65535, not '${text}'`,
      );
    }
    assertThrows(() => read("--port", ""), HotbootError, "--port needs a value (NAME=N)");
  }));

Deno.test({
  name: "ports: without permission to look for free ports there is an error, unless they were chosen before",
  permissions: { read: true, write: true, env: true, net: ["127.0.0.1:26899"] },
  fn: () =>
    withDirectory(async (directory) => {
      const b = await openEmulator({ profile: "demo", home: `${directory}/home`, instance: "b" });
      const { backend } = b.profile.ports;
      const one = { ...b, profile: { ...b.profile, ports: { backend } } };
      const error = await assertRejects(() => takePorts(one, { isFresh: true }), HotbootError);
      assertMatch(
        error.message,
        /^instance 'b' has no port 'backend': if it was reset just now, try again; a program that may not listen on 127\.0\.0\.1:0/,
      );
      assertEquals(await rememberedIn(one), [backend.host]);
      const prepared = { ...one, ports: { backend: { ...backend, host: 26_899 } } };
      assertEquals(hosts(await takePorts(prepared, { isFresh: true })), [26_899]);
    }),
});
