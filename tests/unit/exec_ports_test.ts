/** What becomes of the ports of `exec` before a machine is saved, and where a program's stream ends. */

import { assertEquals, assertRejects } from "@std/assert";
import { concat } from "@std/bytes/concat";
import { HotbootError } from "../../lib/base/error.ts";
import { saveCheckpoint } from "../../lib/emulator/checkpoint.ts";
import { stop } from "../../lib/emulator/stop.ts";
import { CutOff, EndedStream } from "../../lib/guest/ended_stream.ts";
import { play, testEmulator } from "./emulators.ts";
import type { PlayedMachine } from "./played_machine.ts";
import { withDirectory } from "./temporary.ts";

/** Ports in the machine: those of exec1 are left by a killed hotboot, those of exec2 are not if `isLive`. */
function plugIn(machine: PlayedMachine, isLive: boolean): { ports: Set<string>; log: string[] } {
  const ports = new Set(["exec1.out", "exec1.err", ...isLive ? ["exec2.in", "exec2.out", "exec2.err"] : []]);
  const chardevs = new Set([...ports, "exec1.in"]); // it was killed while it unplugged
  const log: string[] = [];
  const act = (command: string, all: Set<string>) => {
    machine.answers[command] = ({ id }) => {
      log.push(`${command} ${id}`);
      all.delete(String(id));
      return {};
    };
  };
  machine.answers["qom-list"] = () => [{ name: "share-of-another" }, ...[...ports].map((name) => ({ name }))];
  machine.answers["query-chardev"] = () =>
    [...chardevs].map((label) => ({
      label,
      // exec2's input has ended
      filename: `${/^exec1|\.in$/.test(label) ? "disconnected:" : ""}unix:/somewhere/${label},server=on`,
    }));
  act("device_del", ports);
  act("chardev-remove", chardevs);
  machine.onCommand = (command) => void (["stop", "migrate"].includes(command) && log.push(command));
  return { ports, log };
}

Deno.test("exec's ports: a suspension unplugs all of them before it saves anything", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator);
    const { ports, log } = plugIn(machine, true);
    await stop(emulator);
    assertEquals([...ports], []);
    const before = log.slice(0, log.indexOf("stop"));
    const count = (command: string) => before.filter((line) => line.startsWith(command)).length;
    assertEquals([count("device_del"), count("chardev-remove"), count("migrate")], [5, 6, 0]);
  });
});

Deno.test("exec's ports: a checkpoint removes those that were left, and refuses while others are in use", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator);
    using _machine = machine;
    const { ports, log } = plugIn(machine, true);
    await assertRejects(() => saveCheckpoint(emulator, "saved"), HotbootError, "is at work in it: end that first");
    assertEquals([...ports], ["exec2.in", "exec2.out", "exec2.err"]);
    assertEquals(log.filter((line) => line === "stop" || line === "migrate"), []);
    assertEquals(machine.status, "running");
  });
});

const MARK = "\x1fmark";

/** A connection on which these pieces arrive, each by itself. */
function arriving(pieces: Uint8Array[]): Deno.Conn {
  const left = [...pieces];
  const read = (into: Uint8Array) => {
    const next = left.shift();
    if (next) into.set(next);
    return Promise.resolve(next?.length ?? null);
  };
  return { read } as Deno.Conn;
}

Deno.test("a program's stream ends at the mark, wherever it is divided, and nothing else is taken for it", async () => {
  const output = new TextEncoder().encode("ready\nout\x1f\x1fmar\x1f\n");
  const all = concat([output, new TextEncoder().encode(`${MARK}007 and more`)]);
  for (let size = 1; size <= all.length; size++) {
    const pieces = Array.from(
      { length: Math.ceil(all.length / size) },
      (_, at) => all.slice(at * size, (at + 1) * size),
    );
    const stream = new EndedStream(arriving(pieces), MARK);
    assertEquals(await stream.line(), "ready");
    const got: Uint8Array[] = [];
    assertEquals(await stream.copy((bytes) => void got.push(bytes.slice())), 7);
    assertEquals(concat(got), output.subarray("ready\n".length));
  }
});

Deno.test("a program's output is passed on at once, and a stream without an end was cut off", async () => {
  const got: string[] = [];
  const pieces = ["one", "two\x1fma"].map((text) => new TextEncoder().encode(text));
  const stream = new EndedStream(arriving(pieces), MARK);
  await assertRejects(() => stream.copy((bytes) => void got.push(new TextDecoder().decode(bytes))), CutOff);
  assertEquals(got, ["one", "two"]);
});

Deno.test("a program's stream has a bound, and an exit code: a guest can write anything in its place", async () => {
  const endless = { read: (into: Uint8Array) => Promise.resolve(into.fill(0x61).length) } as unknown as Deno.Conn;
  await assertRejects(() => new EndedStream(endless, MARK).line(), HotbootError, "a line without an end");
  const wrong = new EndedStream(arriving([new TextEncoder().encode(`${MARK}-1e`)]), MARK);
  await assertRejects(() => wrong.copy(), HotbootError, "an exit code that is no number");
});
