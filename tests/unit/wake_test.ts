/** What hotboot does in a guest that wakes, in which order, and how it takes the guest's answers. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { encodeBase64 } from "@std/encoding/base64";
import { HotbootError } from "../../lib/base/error.ts";
import { Timeline } from "../../lib/base/timeline.ts";
import { wake } from "../../lib/guest/wake.ts";
import type { GuestState } from "../../lib/snapshot/manifest.ts";
import { play, testEmulator } from "./emulators.ts";
import type { PlayedMachine } from "./played_machine.ts";
import { withDirectory } from "./temporary.ts";

const GUEST: GuestState = {
  clock: "shift",
  clockOffsetMs: 0,
  stoppedAt: 1_000_000,
  reseeds: true,
  frozen: [
    { unit: "db.service", group: "/system.slice/db.service", thaw: "before rotation" },
    { unit: "web.service", group: "/system.slice/web.service", thaw: "after rotation" },
  ],
  notFrozen: [],
};

/** An emulator whose profile rotates, its machine, and a function that sets how the agent's next program ends. */
async function withGuest(
  test: (guest: {
    emulator: Awaited<ReturnType<typeof testEmulator>>;
    machine: PlayedMachine;
    ends: (exitcode: number, out: string, err?: string) => void;
  }) => Promise<void>,
): Promise<void> {
  await withDirectory(async (directory) => {
    const plain = await testEmulator(directory);
    const rotation = { command: ["rotate", "all of it"], timeout: 5 };
    const ports = { "api-2": { guest: 80, host: 20_001 } };
    const emulator = { ...plain, profile: { ...plain.profile, rotation: { ...rotation, proof: [] } }, ports };
    const { machine } = await play(emulator);
    using _ends = machine;
    const ends = (exitcode: number, out: string, err = "") => {
      const [output, error] = [out, err].map((text) => encodeBase64(text));
      machine.answers["guest-exec-status"] = () => ({ exited: true, exitcode, "out-data": output, "err-data": error });
    };
    await test({ emulator, machine, ends });
  });
}

/** Asserts that all parts are in the text, in this order. */
function assertInOrder(text: string, parts: string[]): void {
  const places = parts.map((part) => text.indexOf(part));
  assert(
    places.every((place, index) => place >= 0 && place > (places[index - 1] ?? -1)),
    `${parts}: ${places}\n${text}`,
  );
}

Deno.test("wake: one script without secrets does entropy and clock, thaw, hooks, rotation and thaw", () =>
  withGuest(async ({ emulator, machine }) => {
    const input: string[] = [];
    machine.answers["guest-exec"] = (args) => {
      machine.scripts.push([args.path, ...args.arg as string[]].join(" "));
      input.push(atob(String(args["input-data"])));
      return { pid: 1 };
    };
    const timeline = new Timeline();
    const secrets = { TOKEN: "very secret" };
    await wake(emulator, { guest: GUEST, resumedAt: 1_060_000, hooks: [["hook", "a b"]], secrets }, timeline);
    assertEquals(machine.scripts.length, 1);
    const [script] = machine.scripts;
    assertInOrder(script, [
      "read -r entropy",
      "export HOTBOOT_PORT_API_2=20001\n",
      "mark 'entropy and clock'",
      "/system.slice/db.service/cgroup.freeze",
      "hook",
      "rotate",
      "/system.slice/web.service/cgroup.freeze",
    ]);
    assert(!script.includes("very secret"));
    assertMatch(input[0], /very secret/);
    assertEquals(timeline.phases.map(({ name }) => name), ["agent", "clock"]); // the played guest's answers
  }));

Deno.test("wake: a failing step is named, with the guest's output and no secret; its group stays frozen", () =>
  withGuest(async ({ emulator, ends }) => {
    ends(1, "mark 1 begin\nfailed 7 rotation\n", "no room for very secret\n");
    const sleeper = { guest: GUEST, resumedAt: 1_060_000, secrets: { TOKEN: "very secret" } };
    const error = await assertRejects(() => wake(emulator, sleeper, new Timeline()), HotbootError);
    assertMatch(
      error.message,
      /^the rotation command failed in the guest \(exit code 7\): no room for <TOKEN>; 'hotboot logs' shows the guest's console$/,
    );

    ends(1, "mark 1 begin\nmark 2 hook restore\nfailed 3 hook restore\n");
    const timeline = new Timeline();
    const other = await assertRejects(() => wake(emulator, sleeper, timeline), HotbootError);
    assertEquals(timeline.phases.map(({ name, failed }) => [name, failed]), [["agent", undefined], [
      "hook restore",
      true,
    ]]);
    assertMatch(
      other.message,
      /^'hook restore' failed in the guest \(exit code 3\): it said nothing; 'hotboot logs' shows the guest's console$/,
    );
  }));

Deno.test("wake: a guest that answers anything gets no more phases than there are steps, within the time that they took", () =>
  withGuest(async ({ emulator, ends }) => {
    const marks = ["1", "NaN", "-5", "1e999", "99999999999", "3", "Infinity", "2", "0.5"].map((at) => `mark ${at} x`);
    ends(0, `mark 1 begin\n${`${marks.join("\n")}\n`.repeat(100)}`);
    const timeline = new Timeline();
    const secrets = { TOKEN: "very secret" };
    await wake(emulator, { guest: GUEST, resumedAt: 1_060_000, secrets }, timeline);
    const now = timeline.elapsed();
    assert(timeline.phases.length <= 1 + 4, `${timeline.phases.length}`); // entropy and clock, thaw, rotation, thaw
    for (const { startMs, endMs } of timeline.phases) assert(0 <= startMs && startMs <= endMs && endMs <= now);
  }));

Deno.test("wake: a guest that was given the time of before a step of the host's clock gets the right one", () =>
  withGuest(async ({ emulator, machine }) => {
    const { now } = Date;
    using _restored = { [Symbol.dispose]: () => Date.now = now };
    for (
      const [stepMs, said] of [[3_600_000, /clock was 1h00m behind; it is set/], [-3_600_000, /1h00m ahead/]] as const
    ) {
      const before = machine.scripts.length;
      machine.answers["guest-exec-status"] = () => {
        if (Date.now === now) {
          Date.now = () => now() + stepMs;
          machine.clockMs = -stepMs;
        }
        return { exited: true, exitcode: 0, "out-data": encodeBase64("mark 1 begin\nmark 1 clock\n") };
      };
      await wake(emulator, { guest: GUEST, resumedAt: now() }, new Timeline());
      assertMatch(emulator.told.join("\n"), said);
      assertMatch(machine.scripts.slice(before)[1], /^date -u -s @/);
      Date.now = now;
      machine.clockMs = 0;
    }
  }));

Deno.test("wake: the agent sets the clock if nothing else can; a missing agent gives only a warning", () =>
  withGuest(async ({ emulator, machine }) => {
    const guest: GuestState = { ...GUEST, clock: "agent", reseeds: false, frozen: [] };
    let set = 0;
    machine.answers["guest-set-time"] = () => ({ set: ++set });
    await wake(emulator, { guest }, new Timeline());
    assertEquals(set, 1);

    machine[Symbol.dispose]();
    await wake(emulator, { guest: { ...guest, clock: "nothing" } }, new Timeline());
    assertMatch(emulator.told.join("\n"), /the guest's clock still shows the time of its capture: /);
  }));
