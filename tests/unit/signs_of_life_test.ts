import { assertEquals } from "@std/assert";
import { lastPanic } from "../../lib/instance/serial_log.ts";
import { SignsOfLife } from "../../lib/instance/signs_of_life.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import { fakePeer } from "./duplex.ts";
import { withDirectory } from "./temporary.ts";

/** A QEMU whose disk has been used so many times, or which does not answer. */
async function fakeQemu() {
  const peer = fakePeer();
  const qemu = { operations: 0, isSilent: false };
  peer.onSent = (text) => {
    const { execute, id } = JSON.parse(text);
    const stats = { rd_operations: qemu.operations, wr_operations: 0 };
    const answer = execute === "query-blockstats" ? [{ stats }] : {};
    if (!qemu.isSilent) peer.send(`${JSON.stringify({ return: answer, id })}\r\n`);
  };
  peer.send('{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": []}}\r\n');
  return { qemu, qmp: await QmpClient.open(peer) };
}

Deno.test("signs of life: output and use of the disk, but no report that the kernel hangs", async (t) => {
  await withDirectory(async (directory) => {
    const { qemu, qmp } = await fakeQemu();
    const log = `${directory}/serial.log`;
    await Deno.writeTextFile(log, "");
    const signs = new SignsOfLife([log], qmp);
    const look = async (printed = "") => {
      await Deno.writeTextFile(log, printed, { append: true });
      return await signs.areNew({ timeoutMs: qemu.isSilent ? 10 : 10_000 });
    };
    assertEquals(await look(), true); // the disk has been used so often before
    assertEquals(await look(), false);

    await t.step("output", async () => {
      assertEquals([await look("Booting\n"), await look()], [true, false]);
    });

    await t.step("the disk", async () => {
      qemu.operations++;
      assertEquals([await look(), await look()], [true, false]);
    });

    await t.step("a QEMU that does not answer shows nothing, and its guest's output counts", async () => {
      qemu.isSilent = true;
      assertEquals([await look(), await look("Still booting\n")], [false, true]);
      qemu.isSilent = false;
      assertEquals(await look(), false);
    });

    // Linux 6.1: kernel/watchdog.c, kernel/rcu/tree_stall.h, kernel/hung_task.c
    for (
      const report of [
        "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [swapper/1:0]",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "rcu: INFO: rcu_sched self-detected stall on CPU",
        "rcu: rcu_preempt kthread starved for 5250 jiffies! g-1087 f0x2 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=1",
        "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0",
        "INFO: task modprobe:71 blocked for more than 120 seconds.",
      ]
    ) {
      await t.step(report, async () => {
        assertEquals(await look(`[   52.000000] ${report}\n[   52.0000`), false);
        assertEquals(await look("02] Call Trace:\n[   52.000003]  <TASK>\n"), false);
        assertEquals([await look(), await look("[   60.000000] sda: sda1\n")], [false, true]);
      });
    }
    await qmp.close();
  });
});

Deno.test("panic: its words, and whether it was the last that the kernel printed", async () => {
  await withDirectory(async (directory) => {
    const log = `${directory}/serial.log`;
    const shown = async (...lines: string[]) => {
      await Deno.writeTextFile(log, lines.map((line) => `[    0.036000] ${line}\r\n`).join(""));
      return await lastPanic(log);
    };
    const words = "Kernel panic - not syncing: IO-APIC + timer doesn't work!";
    const end = `---[ end ${words} ]---`;
    assertEquals(await lastPanic(log), undefined);
    assertEquals(await shown("Booting"), undefined);
    assertEquals(await shown(words, "Call Trace:", end), { words, isLast: true });
    assertEquals(await shown(words, "Call Trace:"), { words, isLast: false });
    // panic=10: it starts again
    assertEquals(await shown(words, "Rebooting in 10 seconds.."), { words, isLast: false });
    assertEquals(await shown(words, end, "Linux version 6.1.0"), { words, isLast: false });
    assertEquals(await shown(words, end, ...Array(2000).fill("a line of no interest to anybody")), undefined);
  });
});
