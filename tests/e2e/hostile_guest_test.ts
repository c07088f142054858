/** What root in a guest cannot do to its host. */
// needs: micro, qemu

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Share } from "../../lib/profile/profile.ts";
import { agentScript } from "./agent_script.ts";
import { GuestHome, type GuestOptions } from "./guest_home.ts";
import { assertCode, denoDirectory } from "./program.ts";
import { newerQemu } from "./qemu.ts";
import { lackOfSmallDisks, smallDisk, testUnless } from "./needs.ts";

const QEMUS: [title: string, options: () => Promise<GuestOptions> | GuestOptions][] = [
  ["the system's QEMU", () => ({})],
  ["a newer QEMU", async () => ({ qemu: await newerQemu() })],
];

function sharing(share: Partial<Share>, options: GuestOptions = {}): Promise<GuestHome> {
  const change: GuestOptions["change"] = (profile) => {
    profile.share = { tag: "hostfs", path: "/", mount: ["mount-host-fs"], ...share };
  };
  return GuestHome.make({ ...options, captured: true, change });
}

/** The files that the guest can read, of those that it tries. */
async function readable(micro: GuestHome, paths: string[]): Promise<string[]> {
  const script = 'for file; do head -c 1 "$file" >/dev/null 2>&1 && echo "$file"; done; true';
  return (await micro.exec("sh", "-c", script, "sh", ...paths)).split("\n").slice(0, -1);
}

for (const [title, options] of QEMUS) {
  testUnless(
    await lackOfSmallDisks(),
    `hostile guest: a share of / on ${title} has only its own file system`,
    async () => {
      await using micro = await sharing({}, await options());
      const own = `${micro.directory}/own`;
      await Deno.writeTextFile(own, "of the host\n");
      const other = `${micro.directory}/other`;
      await using _disk = await smallDisk(other, 1);
      await Deno.writeTextFile(`${other}/file`, "of another file system\n");
      const start = await micro.run("start", ["--no-fallback", "--quiet"]);
      assertCode(start, 0);
      assertEquals(
        start.stderr,
        "hotboot: warning: the guest can read all of your files below /, the keys in ~/.ssh too: use only images that you trust, or name a smaller directory in share.path\n",
      );
      assertEquals(await micro.exec("cat", `/host${own}`), "of the host\n"); // also for what the share is good for
      const pid = (await micro.record()).pid;
      const secret = [
        "/proc/1/environ",
        "/proc/self/environ",
        "/proc/self/root/etc/passwd",
        `/proc/${pid}/maps`,
        "/sys/kernel/uevent_seqnum",
        "/dev/zero",
        `${other}/file`,
      ];
      for (const path of secret) assert(await Deno.lstat(path)); // they are there
      await micro.exec("sh", "-c", `mkdir /b && mount --bind /host /b; mkdir /c; mount --bind /host${other} /c; true`);
      const ways = secret.flatMap((
        path,
      ) => [`/host${path}`, `/host/etc/..${path}`, `/b${path}`, `/b/etc/../etc/..${path}`]);
      assertEquals(await readable(micro, [...ways, "/c/file", `/b${own}`]), [`/b${own}`]);
      const written = await micro.run("exec", [
        "-n",
        "--",
        "sh",
        "-c",
        `mkdir /host/dev/shm/x || ln -s /proc /host${other}/x`,
      ]);
      assertEquals(written.code, 1);
      await micro.exec("umount", "/b");
      await micro.succeed("stop");
      const again = await micro.run("start", ["--quiet"]);
      assertEquals([again.code, again.stderr], [0, ""]); // said once
    },
  );
}

testUnless(
  await lackOfSmallDisks(),
  "hostile guest: a home with a file system of its own is shared instead",
  async () => {
    await using micro = await sharing({ readOnly: false });
    const disk = `${micro.directory}/users`;
    await using _disk = await smallDisk(disk, 1);
    const env = { HOME: `${disk}/me`, ...await denoDirectory() };
    await Deno.mkdir(env.HOME);
    await Deno.writeTextFile(`${env.HOME}/file`, "mine\n");
    for (const how of ["resume", "continue", "cold boot"]) {
      const started = JSON.parse(await micro.succeed("start", ["--json"], { env }));
      assertEquals(started.origin, how);
      assertEquals(await micro.exec("cat", `/host${env.HOME}/file`), "mine\n");
      await micro.exec("sh", "-c", `echo changed >/host${env.HOME}/${how.replace(" ", "-")}`);
      assertEquals(await Deno.readTextFile(`${env.HOME}/${how.replace(" ", "-")}`), "changed\n");
      const [seen, ...others] = [`${env.HOME}/file`, micro.profile, "/etc/passwd"].map((path) => `/host${path}`);
      assertEquals(await readable(micro, [seen, ...others]), [seen]);
      await micro.succeed("stop", how === "continue" ? ["--shutdown"] : []);
    }
  },
);

Deno.test("hostile guest: no profile shares what is the kernel's", async () => {
  await using micro = await GuestHome.make();
  const link = `${micro.directory}/link`;
  await Deno.symlink("/proc/self", link);
  for (const path of ["/proc", "/sys/kernel", "/dev", "/run/lock", "/etc/../proc", link]) {
    const profile = JSON.parse(await Deno.readTextFile(micro.profile));
    profile.share = { tag: "hostfs", path, mount: ["mount-host-fs"] };
    await Deno.writeTextFile(micro.profile, JSON.stringify(profile));
    const run = await micro.run("start");
    assertCode(run, 1);
    assertMatch(
      run.stderr,
      /^hotboot: the profile shares [^\n]*: a guest gets nothing of \/proc, \/sys, \/dev, \/run; share /,
    );
  }
});

Deno.test("hostile guest: a console that is printed to without end stays bounded, and its newest lines are there", async (t) => {
  await using micro = await GuestHome.started();
  const log = `${micro.instance}/serial.log`;
  await micro.exec("sh", "-c", "(while :; do echo at $(cat /proc/uptime); done >/dev/console 2>&1) & sleep 1");
  const newest = async () => Number((await micro.succeed("logs", ["--lines", "3"])).match(/at (\d+)/)?.[1]);
  const commands: [verb: string, ...args: string[]][] = [
    ["status"],
    ["wait"],
    ["start"],
    ["exec", "-n", "--", "true"],
    ["run", "--", "true"],
  ];
  for (const [verb, ...args] of commands) {
    await t.step(`${verb} cuts it`, async () => {
      const before = await newest();
      await Deno.truncate(log, 70 * 2 ** 20); // as after hours
      await micro.succeed(verb, args);
      const { size } = await Deno.stat(log);
      assert(size < 17 * 2 ** 20, `${verb}: ${size} bytes`);
      assert(await newest() >= before);
    });
  }
  await t.step("a log that is a link is not written through", async () => {
    const other = `${micro.directory}/other`;
    await Deno.writeTextFile(other, "");
    await Deno.truncate(other, 70 * 2 ** 20);
    await Deno.remove(log);
    await Deno.symlink(other, log);
    await micro.run("status");
    assertEquals((await Deno.stat(other)).size, 70 * 2 ** 20);
  });
});

/** Runs `exec`, and returns its message and the most memory that it had, in MiB. */
async function refused(micro: GuestHome): Promise<[message: string, mebibytes: number]> {
  const child = micro.spawn("exec", "-n", "--", "true");
  const ended = child.output();
  let most = 0;
  let over = false;
  ended.then(() => over = true);
  while (!over) {
    const status = await Deno.readTextFile(`/proc/${child.pid}/status`).catch(() => "");
    most = Math.max(most, Number(status.match(/VmHWM:\s*(\d+)/)?.[1] ?? 0) / 1024);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { code, stderr } = await ended;
  assertEquals(code, 1);
  return [new TextDecoder().decode(stderr), most];
}

Deno.test("hostile guest: an agent that never ends its line takes bounded memory and time", async () => {
  await using micro = await GuestHome.started();
  await micro.exec("sh", "-c", agentScript("printf '\\377' >&3; exec cat /dev/zero >&3"));
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const [message, mebibytes] = await refused(micro);
  const late =
    /^hotboot: the guest agent did not answer within \d+ s: try again; 'hotboot logs [^']+' shows what the guest prints\n$/;
  assertMatch(message, new RegExp(`^hotboot: an answer has no end after 64 MiB\n$|${late.source}`));
  assert(mebibytes > 50 && mebibytes < 800, `${mebibytes} MiB`);
  assertEquals((await micro.status()).state, "running"); // the others go on
});
