/** A guest that has crashed while QEMU runs on: its memory is useless, but its disk is the user's. */

import { assertEquals, assertMatch } from "@std/assert";
import { status } from "../../lib/emulator/status.ts";
import { stop } from "../../lib/emulator/stop.ts";
import { crashOf } from "../../lib/guest/crash.ts";
import { instancePath } from "../../lib/instance/channels.ts";
import { stateOf } from "../../lib/instance/state.ts";
import { play, testEmulator } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

const PANIC =
  "[   12.3] Kernel panic - not syncing: sysrq triggered crash\r\n[   12.4] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n";

Deno.test("crash: QEMU reports it, or the console does while the agent is silent; the disk is kept", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const crash = async () => {
      await using state = await stateOf(emulator);
      return await crashOf(emulator, state);
    };
    {
      const { machine } = await play(emulator);
      using _machine = machine;
      assertEquals(await crash(), undefined);
      await Deno.writeTextFile(instancePath(emulator, "serial"), PANIC);
      assertEquals(await crash(), undefined); // somebody wrote that, but the guest is alive
      machine.status = "internal-error";
      assertEquals(await crash(), "internal-error");
    }
    const { machine } = await play(emulator, {}, { agent: false });
    using _machine = machine;
    assertEquals(await crash(), "Kernel panic - not syncing: sysrq triggered crash");
    assertMatch(
      (await status(emulator)).why!,
      /^the guest crashed \(Kernel panic [^)]*\): .*'hotboot start' boots its/,
    );
    assertEquals(await stop(emulator), { stopped: true, kept: "crashed" });
    assertEquals(machine.commands.filter((command) => ["quit", "migrate"].includes(command)), ["quit"]);
    await using state = await stateOf(emulator);
    assertEquals(state.kind, "crashed");
    assertEquals(
      emulator.told.at(-1),
      "the guest crashed (Kernel panic - not syncing: sysrq triggered crash): only its disk is saved",
    );
  }));
