// needs: micro/arm64, efi/arm64, qemu/arm64

import { assert, assertEquals, assertMatch } from "@std/assert";
import { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { ARCH, newerQemu, qemuEnv } from "./qemu.ts";
import { until } from "./pace.ts";

const arch = "arm64";

/** Its warnings, one per line. */
function warnings(stderr: string): string[] {
  return stderr.split("\n").filter((line) => line.startsWith("hotboot: warning: "));
}

/** Starts it, freshly captured or as it was left, and returns its origin. */
async function startedFrom(guest: GuestHome): Promise<string | undefined> {
  const run = await guest.run("start", ["--json"]);
  assertCode(run, 0);
  const told = warnings(run.stderr);
  assertEquals(told.length, ARCH === arch ? 0 : 1, run.stderr);
  if (ARCH !== arch) assertMatch(told[0], /arm64 .* emulated, because this host is amd64/);
  assertEquals(Object.keys(await guest.health()), ["uptime", "time"]);
  return JSON.parse(run.stdout).origin;
}

/** A captured guest resumes, is suspended, and continues. */
async function checkLife(guest: GuestHome): Promise<void> {
  assertEquals(await startedFrom(guest), "resume");
  assertEquals(await guest.exec("uname", "-m"), "aarch64\n");
  assertMatch(await guest.exec("cat", "/proc/cmdline"), /console=ttyAMA0/);
  assertEquals(await guest.exec("cat", "/config/runtime.env"), "WEB_PORT=8080\n");
  const { uptime } = await guest.health();
  await guest.exec("sh", "-c", "echo kept >/run/kept");

  await guest.succeed("stop");
  assertEquals(await guest.qemusLeft(), []);
  assertEquals(await startedFrom(guest), "continue");
  assertEquals(await guest.exec("cat", "/run/kept"), "kept\n");
  assert((await guest.health()).uptime > uptime);
  await guest.assertOnTime(5);
}

Deno.test("an arm64 guest is captured, resumed, suspended and continued", async (t) => {
  await using micro = await GuestHome.make({ arch });
  const snapshot = JSON.parse(await micro.succeed("capture", ["--json"])).snapshot;
  assert((await micro.snapshot()).endsWith(snapshot));
  await checkLife(micro);

  await t.step("it shuts down, and boots its own disk", async () => {
    await micro.exec("sh", "-c", "echo kept >/data/kept");
    const stop = await micro.run("stop", ["--shutdown"]);
    assertCode(stop, 0);
    assertEquals(warnings(stop.stderr), []); // such as the one that it had to be switched off
    assertEquals(await startedFrom(micro), "cold boot");
    assertMatch(await micro.succeed("logs"), /micro is up/);
    assertEquals(await micro.exec("cat", "/data/kept"), "kept\n");
    await micro.succeed("stop", ["--discard"]);
  });

  await t.step("a QEMU for another architecture is refused in one line", async () => {
    const run = await micro.run("start", [], { env: qemuEnv("/usr/bin/qemu-system-x86_64", arch) });
    assertEquals([run.code, run.stdout], [1, ""]);
    assertMatch(run.stderr, /^hotboot: \S+aarch64 does not start here \(unsupported machine type[^\n]+\n$/);
  });
});

Deno.test("an arm64 guest works on a newer QEMU, with either engine", async () => {
  await using micro = await GuestHome.make({ arch, qemu: await newerQemu(arch) });
  await micro.succeed("capture");
  await checkLife(micro);
  await micro.succeed("stop", ["--discard"]);
  await micro.succeed("capture", ["--engine", "mapped-ram"]);
  assertEquals(await startedFrom(micro), "resume");
});

Deno.test("an arm64 image with its own boot loader boots from firmware, resumes and reboots", async () => {
  await using efi = await GuestHome.make({ guest: "efi", arch });
  await efi.succeed("capture");
  assertEquals(await startedFrom(efi), "resume");
  assertMatch(await efi.exec("cat", "/proc/cmdline"), /^BOOT_IMAGE=/); // GRUB's
  assertMatch(await efi.exec("ls", "/sys/firmware"), /^efi$/m);

  // The firmware is in the snapshot and also in a file, which a machine reads at a reset.
  const boot = async () => (await efi.run("exec", ["--", "cat", "/proc/sys/kernel/random/boot_id"])).stdout;
  const before = await boot();
  assertMatch(before, /^[0-9a-f-]{36}\n$/);
  await efi.exec("sh", "-c", "(sleep 1; reboot -f) >/dev/null 2>&1 &");
  await until(async () => !["", before].includes(await boot()), "another boot");
  assert((await efi.health()).uptime > 0);
});
