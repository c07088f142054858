/**
 * Another user of the same machine can reach nothing. The tests act as that user, with a real uid, which needs root
 * (or sudo without a password) and util-linux's setpriv.
 */
// needs: micro, qemu

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { walk } from "@std/fs/walk";
import { Home, privateDirectory } from "../../lib/instance/home.ts";
import { HotbootError, openEmulator, start } from "../../mod.ts";
import { GuestHome, type GuestOptions } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { newerQemu, qemuEnv } from "./qemu.ts";
import { testUnless } from "./needs.ts";

const OTHER_UID = 65534; // nobody
const PLACEHOLDER = "00000000000000000000000000000000000000000000000000000000000000aa";

/**
 * In Perl, which every Debian has: tries each path of its input in every way, and prints path, way and
 * error, which is empty if it succeeded.
 */
const ATTEMPTS = `
  use Socket;
  die "still root\\n" if $< != ${OTHER_UID} || $> != ${OTHER_UID};
  $/ = "\\0";
  sub report { printf "%s\\0%s\\0%s\\0", @_ }
  while (my $path = <STDIN>) {
    chomp $path;
    my ($d, $r, $w, $s, $byte);
    report($path, "list", opendir($d, $path) ? "" : "$!");
    report($path, "enter", chdir($path) ? "" : "$!");
    chdir "/";
    report($path, "read", open($r, "<", $path) && defined(sysread($r, $byte, 1)) ? "" : "$!");
    my $new = "$path/other-$$";
    report($path, "write", (-d $path ? mkdir($new) && rmdir($new) : open($w, ">>", $path)) ? "" : "$!");
    socket($s, PF_UNIX, SOCK_STREAM, 0);
    my $address = eval { pack_sockaddr_un($path) };
    report($path, "connect", !$address ? "too long" : connect($s, $address) ? "" : "$!") if length($path) < 108;
  }`;

/** Runs a program as the other user. */
async function asOther(command: string[], stdin = ""): Promise<{ code: number; stdout: string; stderr: string }> {
  const prefix = [
    ...Deno.uid() === 0 ? [] : ["sudo", "-n"],
    ...["setpriv", `--reuid=${OTHER_UID}`, `--regid=${OTHER_UID}`, "--clear-groups", "--"],
  ];
  const [program, ...args] = [...prefix, ...command];
  const child = new Deno.Command(program, {
    args,
    cwd: "/",
    env: { LC_ALL: "C" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const fed = new Response(stdin).body?.pipeTo(child.stdin) ?? child.stdin.close();
  const [{ code, stdout, stderr }] = await Promise.all([child.output(), fed]);
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** What the other user can do with these paths, as `path: way`, and errors that are not about permission. */
async function reachable(paths: string[]): Promise<string[]> {
  assert(paths.length > 0);
  const { code, stdout, stderr } = await asOther(["perl", "-e", ATTEMPTS], paths.map((path) => `${path}\0`).join(""));
  assertEquals(code, 0, stderr);
  const fields = stdout.split("\0");
  const found: string[] = [];
  for (let at = 0; at + 2 < fields.length; at += 3) {
    const [path, way, error] = fields.slice(at, at + 3);
    if (error === "") found.push(`${path}: ${way}`);
    else if (error !== "Permission denied") found.push(`${path}: ${way}: ${error}`);
  }
  assertEquals(new Set(fields.filter((_, at) => at % 3 === 0 && at + 2 < fields.length)).size, paths.length);
  return found;
}

/** Everything below a directory, as its owner sees it. */
async function below(directory: string): Promise<string[]> {
  const [, ...paths] = await Array.fromAsync(walk(directory), ({ path }) => path);
  return paths;
}

/** The paths whose own mode would let others in. */
async function openByMode(paths: string[]): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths) {
    const { mode, isSymlink } = await Deno.lstat(path);
    if (!isSymlink && (mode! & 0o077) !== 0) found.push(`${path}: ${(mode! & 0o777).toString(8)}`);
  }
  return found;
}

const isThere = Deno.build.os === "linux" && (await asOther(["perl", "-e", "1"]).catch(() => undefined))?.code === 0;
const LACK = isThere ? undefined : "a second user needs Linux, setpriv and perl, and root or sudo without a password";

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
  LACK,
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
  LACK,
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

testUnless(LACK, "a link that a second user has made is no home, and no part of one", async () => {
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

testUnless(LACK, "a second user cannot reach sockets in a short directory", async (t) => {
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
      assertEquals(await micro.qemuProcesses(), []);
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
