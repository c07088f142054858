/** The host's files in the guest: there whenever it is up, without disturbing snapshots. */
// needs: micro, micro/arm64, qemu

import { assert, assertEquals, assertMatch } from "@std/assert";
import { exists } from "@std/fs/exists";
import type { Profile } from "../../lib/profile/profile.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import type { GuestHome, GuestOptions } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { newerQemu } from "./qemu.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";

/** A guest that has the directory `shared`, beside its home, at /host. */
async function sharingMicro(
  change: (profile: Profile) => void = () => {},
  options: GuestOptions = {},
): Promise<[GuestHome, string]> {
  const shared = await Deno.makeTempDir({ prefix: "hotboot-test-a,b " });
  await Deno.writeTextFile(`${shared}/file`, "of the host\n");
  const micro = await secretMicro(ROTATE, (profile) => {
    profile.share = { tag: "hostfs", path: shared, mount: ["mount-host-fs"] };
    change(profile);
  }, options);
  return [micro, shared];
}

const read = (micro: GuestHome) => micro.exec("cat", "/host/file");

/** QEMU's devices with names. */
async function devices(micro: GuestHome): Promise<string[]> {
  await using qmp = await QmpClient.connect(micro.socket("monitor"));
  const list = await qmp.execute<{ name: string }[]>("qom-list", { path: "/machine/peripheral" });
  return list.map(({ name }) => name).filter((name) => name !== "type").sort();
}

const MACHINES: [title: string, options: () => Promise<GuestOptions> | GuestOptions][] = [
  ["the system's QEMU", () => ({})],
  ["a newer QEMU", async () => ({ qemu: await newerQemu() })],
  ["a machine without ACPI", () => ({ arch: "arm64" })],
];

for (const [title, options] of MACHINES) {
  Deno.test(`share: works on ${title} when captured, resumed, suspended and booted`, async (t) => {
    const [micro, shared] = await sharingMicro(undefined, await options());
    await using _micro = micro;
    try {
      await t.step("captured and resumed", async () => {
        assertEquals((await micro.start("--no-fallback")).origin, "resume");
        assertEquals(await read(micro), "of the host\n");
      });
      await t.step("read-only, even if the guest remounts it", async () => {
        const run = await micro.run("exec", ["--", "sh", "-c", "mount -o remount,rw /host; echo x >/host/new"]);
        assertEquals(run.code, 1);
        assertMatch(run.stderr, /Read-only file system/);
        assert(!await exists(`${shared}/new`));
      });
      for (const how of ["once", "twice"]) {
        await t.step(`suspended and continued ${how}, with the host's latest changes`, async () => {
          await micro.succeed("stop");
          await Deno.writeTextFile(`${shared}/file`, `changed ${how}\n`);
          assertEquals((await micro.start()).origin, "continue");
          assertEquals(await read(micro), `changed ${how}\n`);
        });
      }
      await t.step("shut down and booted", async () => {
        await micro.succeed("stop", ["--shutdown"]);
        assertEquals((await micro.start()).origin, "cold boot");
        assertEquals(await read(micro), "changed twice\n");
        await micro.succeed("stop");
        assertEquals((await micro.start()).origin, "continue");
        assertEquals(await read(micro), "changed twice\n");
      });
      await t.step("resumed again", async () => {
        await micro.succeed("stop", ["--discard"]);
        assertEquals((await micro.start("--no-fallback")).origin, "resume");
        assertEquals(await read(micro), "changed twice\n");
      });
    } finally {
      await Deno.remove(shared, { recursive: true });
    }
  });
}

Deno.test("share: an obstacle is reported, and the guest keeps the share", async (t) => {
  const [micro, shared] = await sharingMicro((profile) => profile.share!.readOnly = false, { captured: true });
  await using _micro = micro;
  try {
    await micro.start("--no-fallback");

    await t.step("a writable share can be written", async () => {
      await micro.exec("sh", "-c", "echo of the guest >/host/new");
      assertEquals(await Deno.readTextFile(`${shared}/new`), "of the guest\n");
    });

    await t.step("stop waits while it is in use for a moment", async () => {
      await micro.exec("sh", "-c", "(cd /host; sleep 1) >/dev/null 2>&1 &");
      await micro.succeed("stop");
      await micro.start();
      assertEquals(await read(micro), "of the host\n");
    });

    await t.step("stop gives up if it is in use for long, and everything stays as before", async () => {
      await micro.exec("sh", "-c", "(cd /host; exec sleep 1000) >/dev/null 2>&1 &");
      const stop = await micro.run("stop", ["--quiet"]);
      assertCode(stop, 1);
      assertMatch(
        stop.stderr,
        /^hotboot: not suspended, the guest still runs: the guest uses the host's files: [^\n]*\/host[^\n]*busy; 'sleep' \(process \d+\) uses \/host; [^\n]*\n$/,
      );
      assertEquals(await read(micro), "of the host\n");
      await micro.exec("killall", "sleep");
    });

    await t.step("stop gives up, too, if it is mounted in another namespace, as in a container", async () => {
      await micro.exec(
        "sh",
        "-c",
        "unshare -m sleep 1000 >/dev/null 2>&1 & until grep -q sleep /proc/$!/comm; do sleep 0.1; done",
      );
      const stop = await micro.run("stop", ["--quiet"]);
      assertCode(stop, 1);
      assertMatch(
        stop.stderr,
        /: the guest uses the host's files: 'sleep' \(process \d+\) has mounted them at \/host in a container; /,
      );
      assertEquals(await read(micro), "of the host\n");
      await micro.exec("killall", "sleep");
    });

    await t.step("stop lets a paused guest run to give it up", async () => {
      {
        await using qmp = await QmpClient.connect(micro.socket("monitor"));
        await qmp.execute("stop");
      }
      await micro.succeed("stop");
      assertEquals((await micro.start()).origin, "continue");
      assertEquals(await read(micro), "of the host\n");
    });

    await t.step("after a killed stop took it away, the next start gives it back", async () => {
      await micro.exec("umount", "/host");
      {
        await using qmp = await QmpClient.connect(micro.socket("monitor"));
        const gone = qmp.waitForEvent(({ data }) => data.device === "share", "QEMU", { timeoutMs: 20_000 });
        await qmp.execute("device_del", { id: "share" });
        await gone;
      }
      assertEquals(await devices(micro), ["spare"]);
      assertEquals((await micro.start()).origin, undefined);
      assertEquals(await devices(micro), ["share", "spare"]);
      assertEquals(await read(micro), "of the host\n");
    });
  } finally {
    await Deno.remove(shared, { recursive: true });
  }
});

Deno.test("share: a guest that cannot mount it does not count as up", async (t) => {
  let mount = ["sh", "-c", "echo no room for it >&2; exit 3"];
  const [micro, shared] = await sharingMicro((profile) => profile.share!.mount = mount, { captured: true });
  await using _micro = micro;
  try {
    await t.step("a failed resume leads to a boot, which fails, too", async () => {
      const run = await micro.run("start", ["--quiet"]);
      assertCode(run, 1);
      const why =
        "the command that mounts the host's files failed in the guest (exit code 3): no room for it; check share.mount in the profile";
      assert(run.stderr.includes(`hotboot: warning: not resumed: ${why}; booting instead\n`), run.stderr);
      assert(run.stderr.endsWith(`hotboot: ${why}\n`), run.stderr);
      assertEquals(await micro.qemusLeft(), []);
    });

    await t.step("a guest that was suspended continues, with a warning", async () => {
      mount = ["mount-host-fs"];
      await micro.writeProfile();
      await micro.start();
      await micro.succeed("stop");
      mount = ["sh", "-c", "echo no room for it >&2; exit 3"];
      await micro.writeProfile();
      const run = await micro.run("start", ["--quiet", "--json"]);
      assertCode(run, 0);
      assertEquals(JSON.parse(run.stdout).origin, "continue");
      assertMatch(
        run.stderr,
        /warning: the guest does not have the host's files \([^\n]*\(exit code 3\): no room for it; check share\.mount in the profile\): 'hotboot stop' [^\n]*\n$/,
      );
    });

    await t.step("a missing directory is named", async () => {
      await micro.succeed("stop", ["--discard"]);
      await Deno.remove(shared, { recursive: true });
      const run = await micro.run("start", ["--quiet", "--cold"]);
      assertCode(run, 1);
      assertMatch(run.stderr, /^hotboot: [^\n]*hotboot-test-a,b [^\n]*No such file or directory[^\n]*\n$/);
      assertEquals((await Deno.stat(`${micro.instance}/serial.log`)).size, 0); // the guest has not run yet
    });
  } finally {
    await Deno.remove(shared, { recursive: true }).catch(() => {});
  }
});
