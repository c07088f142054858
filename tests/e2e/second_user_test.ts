/**
 * Another user of the same machine can reach nothing. The tests act as that user, with a real uid, which needs root
 * (or sudo without a password) and util-linux's setpriv.
 */
// needs: micro, qemu

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Home, privateDirectory } from "../../lib/instance/home.ts";
import { HotbootError, openEmulator, start } from "../../mod.ts";
import { GuestHome, type GuestOptions } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { asOther, below, LACK_OF_OTHER_USER, openByMode, reachable } from "./other_user.ts";
import { newerQemu, qemuEnv } from "./qemu.ts";
import { testUnless } from "./needs.ts";

const PLACEHOLDER = "00000000000000000000000000000000000000000000000000000000000000aa";

/** A guest with a secret, in a home that everybody can list, so that its contents must be closed themselves. */
async function openHome(options: GuestOptions = {}): Promise<GuestHome> {
  const micro = await GuestHome.make({
    ...options,
    change: (profile) => {
      profile.secrets = [{ name: "TOKEN", placeholder: PLACEHOLDER }];
      profile.rotation = {
        command: ["sh", "-c", `read -r line; echo "\${line#TOKEN=}" >/www/token`],
        proof: [{ name: "it is served", port: "web", path: "/token", contains: ["${secret.TOKEN}"] }],
      };
    },
  });
  await Deno.chmod(micro.directory, 0o755);
  await Deno.chmod(micro.home, 0o755);
  return micro;
}

/** Does `work` with another umask, which its programs inherit. */
async function withUmask(mask: number, work: () => Promise<void>): Promise<void> {
  const before = Deno.umask(mask);
  try {
    await work();
  } finally {
    Deno.umask(before);
  }
}

/** Asserts that all of `names` are in the home, and that the other user reaches nothing in it. */
async function assertClosed(micro: GuestHome, names: string[]): Promise<void> {
  const paths = await below(micro.home);
  assertEquals(names.filter((name) => !paths.some((path) => path.endsWith(`/${name}`))), []);
  assertEquals(await reachable(paths), []);
  assertEquals(await openByMode(paths), []);
}

testUnless(
  LACK_OF_OTHER_USER,
  "a second user reaches nothing of an emulator, in any state",
  async (t) => {
    await withUmask(0o022, async () => {
      await using micro = await openHome();

      await t.step("open files are reached, so the attempts are real", async () => {
        const open = `${micro.directory}/open`;
        await Deno.mkdir(open);
        await Deno.chmod(open, 0o777);
        await Deno.writeTextFile(`${open}/file`, "x");
        await Deno.chmod(`${open}/file`, 0o666);
        using _socket = Deno.listen({ transport: "unix", path: `${open}/socket` });
        await Deno.chmod(`${open}/socket`, 0o666);
        const found = await reachable([open, `${open}/file`, `${open}/socket`]);
        assertEquals(found.filter((each) => !/: .*: /.test(each)), [
          ...["list", "enter", "write"].map((way) => `${open}: ${way}`),
          ...["read", "write"].map((way) => `${open}/file: ${way}`),
          `${open}/socket: connect`,
        ]);
      });

      const { stderr } = await micro.run("start");
      assertEquals(stderr.includes("QEMU runs as root"), Deno.uid() === 0);
      const { TOKEN } = JSON.parse(await micro.succeed("credentials", ["--json"]));
      const snapshot = ["manifest.json", "ram", "device.state", "disk.qcow2"];
      const instance = ["instance.json", "micro/disk.qcow2", "config.iso", "credentials.json", "serial.log"];

      await t.step("running", () => assertClosed(micro, [...snapshot, ...instance, "monitor.sock", "agent.sock"]));

      await t.step("only the process's command line is visible, and it contains no secret", async () => {
        const [pid] = await micro.qemuProcesses();
        const files = ["environ", "mem", "maps", "fd", "cwd", "root"].map((name) => `/proc/${pid}/${name}`);
        const found = await reachable(files);
        assertEquals(found.filter((each) => !/: (list|enter): Not a directory$/.test(each)), []);
        const { stdout } = await asOther(["cat", `/proc/${pid}/cmdline`]);
        assertMatch(stdout, /hotboot-micro/);
        assert(!stdout.includes(TOKEN) && !stdout.includes(PLACEHOLDER));
      });

      await micro.succeed("stop");
      await t.step(
        "suspended",
        () =>
          assertClosed(micro, [...snapshot, "instance.json", "memory.state", "micro/disk.qcow2", "credentials.json"]),
      );

      await micro.succeed("stop", ["--discard"]);
      await t.step("captured", () => assertClosed(micro, snapshot));

      await t.step("captured by the other engine", async () => {
        const env = qemuEnv(await newerQemu());
        await micro.succeed("capture", ["--force", "--engine", "mapped-ram"], { env });
        await assertClosed(micro, ["savevm.zst", "savevm.raw"]);
      });
    });
  },
);

testUnless(
  LACK_OF_OTHER_USER,
  "a second user reaches no file of the library's, whatever the umask",
  async () => {
    await withUmask(0, async () => {
      await using micro = await openHome();
      if (micro.qemu.includes("/")) Deno.env.set("PATH", qemuEnv(micro.qemu).PATH);
      await start(await openEmulator({ home: micro.home, profile: micro.profile }));
      assertEquals(Deno.umask(), 0); // the library leaves the program's umask alone
      const paths = await below(micro.home);
      assertEquals(await reachable(paths), []);
      assertEquals(await openByMode(paths), []);
    });
  },
);

testUnless(LACK_OF_OTHER_USER, "a link that a second user has made is no home, and no part of one", async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-test-" });
  try {
    const [target, open] = [`${directory}/target`, `${directory}/open`];
    await Deno.mkdir(target, { mode: 0o755 });
    await Deno.mkdir(open);
    await Deno.chmod(directory, 0o755);
    await Deno.chmod(open, 0o777);
    assertEquals((await asOther(["ln", "-s", target, `${open}/home`])).code, 0);
    await assertRejects(
      () => openEmulator({ home: `${open}/home` }),
      HotbootError,
      "a link that another user has made",
    );
    await assertRejects(() => privateDirectory(`${open}/home`), HotbootError, "a link that another user has made");
    assertEquals((await Deno.stat(target)).mode! & 0o777, 0o755);
    await Deno.symlink(target, `${directory}/own`); // the owner's leads there as well
    await openEmulator({ home: `${directory}/own` });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

testUnless(LACK_OF_OTHER_USER, "a second user cannot reach sockets in a short directory", async (t) => {
  await withUmask(0o022, async () => {
    await using micro = await openHome({ name: "long".repeat(25), captured: true });
    const short = await new Home(micro.home).sockets(micro.guest);
    assertMatch(short, /^\/tmp\/hotboot-[0-9a-f]{16}$/);
    /** Asserts that hotboot refuses to use the directory that the other user made. */
    const assertRefused = async () => {
      for (const verb of ["start", "status", "exec", "stop"]) {
        const run = await micro.run(verb, verb === "exec" ? ["--", "true"] : ["--quiet"]);
        assertCode(run, 1);
        assertMatch(run.stderr, new RegExp(`^hotboot: ${short}, for sockets, was made by another user: [^\n]+\n$`));
      }
      await assertRejects(() => new Home(micro.home).shortDirectory(short), HotbootError, "another user");
      assertEquals(await micro.qemusLeft(), []);
    };

    await t.step("a directory that the second user made first is refused", async () => {
      assertEquals((await asOther(["mkdir", "-m", "755", short])).code, 0);
      await assertRefused();
      assertEquals((await Deno.lstat(short)).mode! & 0o777, 0o755);
      assertEquals((await asOther(["rmdir", short])).code, 0);
    });

    await t.step("a link to the first user's directory is refused, too, and the directory keeps its mode", async () => {
      const target = `${micro.directory}/target`;
      await Deno.mkdir(target, { mode: 0o755 });
      assertEquals((await asOther(["ln", "-s", target, short])).code, 0);
      await assertRefused();
      assertEquals((await Deno.stat(target)).mode! & 0o777, 0o755);
      assertEquals((await asOther(["rm", short])).code, 0);
    });

    await t.step("hotboot's own link leads into the home, which is closed, and goes with the instance", async () => {
      await micro.start();
      assertEquals(await Deno.readLink(short), micro.instance);
      const sockets = ["/agent.sock", "/monitor.sock"];
      for (const name of sockets) assert((await Deno.stat(short + name)).isSocket, name);
      assertEquals(await reachable(sockets.map((name) => short + name)), []);
      assertEquals(await openByMode([micro.instance, ...sockets.map((name) => micro.instance + name)]), []);
      await assertClosed(micro, ["ram", "credentials.json"]);
      await micro.succeed("reset");
      await assertRejects(() => Deno.lstat(short), Deno.errors.NotFound);
    });
  });
});
