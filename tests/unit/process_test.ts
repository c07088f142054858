/** What QEMU prints on standard error. Here a shell prints it, beside a monitor that the test plays. */

import { assertRejects } from "@std/assert";
import { exists } from "@std/fs/exists";
import { channelsOf } from "../../lib/instance/channels.ts";
import { HotbootError } from "../../lib/base/error.ts";
import { QemuProcess } from "../../lib/vm/process.ts";
import { play, testEmulator } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

/** QEMU 7.2 printed this, and went on, when devices were loaded over the memory of another moment. */
const OTHER_MOMENT =
  "qemu-system-x86_64: VQ 0 size 0x100 Guest index 0x5f3a inconsistent with Host index 0x1: delta 0x5f39";

Deno.test("QEMU: a mere warning about devices and memory of different moments is an error", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { machine } = await play(emulator);
    using _machine = machine;
    const channels = await channelsOf(emulator);
    const says = async (words: string) => {
      const said = `${directory}/${crypto.randomUUID()}`;
      const script = 'echo "$1" >&2; : >"$2"; exec sleep 600';
      const qemu = await QemuProcess.launch("/bin/sh", ["-c", script, "sh", words, said], channels);
      while (!await exists(said)) await qemu.qmp.execute("query-status");
      return qemu;
    };
    {
      await using qemu = await says("qemu-system-x86_64: warning: VQ 0 has no guest notifier");
      await qemu.requireOneMoment();
    }
    await using qemu = await says(OTHER_MOMENT);
    await assertRejects(() => qemu.requireOneMoment(), HotbootError, "are of two different moments");
  }));
