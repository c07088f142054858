/** Images in a registry: Debian's own, read by skopeo and umoci, too. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { PullResult } from "../../lib/image/pulling.ts";
import type { PushResult } from "../../lib/image/push.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode, hotboot, type Run, spawnHotboot } from "./program.ts";
import { ARCH } from "./qemu.ts";
import { until } from "./pace.ts";
import { FaultyProxy, RegistryServer } from "./registry_server.ts";
import { tool } from "./snapshots.ts";
import { TokenServer } from "./token_server.ts";

const [USER, PASSWORD] = ["team", "se cret:1"];

/** A home with the micro guest's image, whose profile has it in a registry, and further homes for the same profile. */
class Setting implements AsyncDisposable {
  env: Record<string, string>;

  private constructor(readonly guest: GuestHome, readonly host: string) {
    this.env = { DOCKER_CONFIG: `${guest.directory}/docker` };
  }

  /** @param isWhole Whether the image can boot. Its kernel is most of it, so tests that do not start it do without. */
  static async make(host: string, { isWhole = false } = {}): Promise<Setting> {
    const oci = `oci://${host}/team/micro:main`;
    const guest = await GuestHome.make({ change: (profile) => profile.image = { oci } });
    const setting = new Setting(guest, host);
    if (!isWhole) {
      const record = JSON.parse(await Deno.readTextFile(setting.image("home", "json")));
      delete record.files.kernel;
      await Deno.writeTextFile(setting.image("home", "json"), JSON.stringify(record));
      await Deno.remove(setting.image("home", "kernel"));
    }
    return setting;
  }

  /** Logs in as docker does. */
  async login(config: object = { auths: { [this.host]: { auth: btoa(`${USER}:${PASSWORD}`) } } }): Promise<void> {
    await Deno.mkdir(this.env.DOCKER_CONFIG, { recursive: true });
    await Deno.writeTextFile(`${this.env.DOCKER_CONFIG}/config.json`, JSON.stringify(config));
  }

  arguments(verb: string, home: string, ...args: string[]): string[] {
    return [verb, "--home", `${this.guest.directory}/${home}`, "--profile", this.guest.profile, ...args];
  }

  run(verb: string, home: string, ...args: string[]): Promise<Run> {
    return hotboot(this.arguments(verb, home, ...args), { env: this.env });
  }

  async push(...args: string[]): Promise<PushResult> {
    const run = await this.run("push", "home", "--json", ...args);
    assertCode(run, 0);
    return JSON.parse(run.stdout);
  }

  async pull(home: string, ...args: string[]): Promise<Required<PullResult> & { paths: Record<string, string> }> {
    const run = await this.run("pull", home, "--json", "--skip-snapshot", ...args);
    assertCode(run, 0);
    return JSON.parse(run.stdout);
  }

  async refuses(verb: string, why: RegExp, ...args: string[]): Promise<void> {
    const skip = verb === "pull" ? ["--skip-snapshot"] : [];
    const { code, stderr } = await this.run(verb, verb === "pull" ? "new" : "home", ...skip, ...args);
    assertEquals(code, 1, stderr);
    assertMatch(stderr.trimEnd().split("\n").at(-1)!, why);
    for (const secret of [PASSWORD, btoa(`${USER}:${PASSWORD}`)]) assert(!stderr.includes(secret), stderr);
  }

  image(home: string, part = "qcow2"): string {
    return `${this.guest.directory}/${home}/images/micro-${ARCH}.${part}`;
  }

  /** Another build of the image: its disk has other content in one place. */
  async change(text: string): Promise<void> {
    const [disk, raw] = [this.image("home"), `${this.guest.directory}/disk.raw`];
    await tool(`qemu-img convert -O raw ${disk} ${raw}`);
    const file = await Deno.open(raw, { write: true });
    await file.seek(32 * 2 ** 20, Deno.SeekMode.Start);
    await file.write(new TextEncoder().encode(text));
    file.close();
    await Deno.remove(disk); // it is a link to the tests' own
    await tool(`qemu-img convert -c -O qcow2 ${raw} ${disk}`);
    await Deno.remove(this.image("home", "json"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.run("reset", "new");
    await this.guest[Symbol.asyncDispose]();
  }
}

/** The configuration of a registry that wants USER's password. */
async function htpasswd(directory: string): Promise<string> {
  const line = await tool(`htpasswd -nbB ${USER} '${PASSWORD}'`);
  await Deno.writeTextFile(`${directory}/htpasswd`, line);
  return `auth: {htpasswd: {realm: tests, path: ${directory}/htpasswd}}\n`;
}

Deno.test("oci: an image goes through a registry; of the next one only what has changed moves", async (t) => {
  await using registry = await RegistryServer.start(htpasswd);
  await using setting = await Setting.make(registry.host);
  const reference = `oci://${registry.host}/team/micro:main`;

  await t.step("a login is needed, and said to be so", async () => {
    await setting.refuses(
      "push",
      /answered 401 .*: if team\/micro is private, type 'docker login 127\.0\.0\.1:\d+' first/,
    );
    await setting.login({ auths: { [registry.host]: { auth: btoa(`${USER}:wrong`) } } });
    await setting.refuses("push", /answered 401 .*: ask for access, or run 'docker login 127\.0\.0\.1:\d+' again/);
    await setting.login();
    await setting.refuses("pull", /^hotboot: there is no oci:.*\/team\/micro:main: check the name, push it/);
  });
  await t.step("it is pushed, and a second time nothing is sent", async () => {
    const first = await setting.push();
    assertEquals([first.reference, first.moved], [reference, first.size]);
    assertEquals(await setting.push(), { ...first, moved: 0 });
  });
  await t.step("it is pulled into an empty home, and has the same content", async () => {
    const { pulled, size, moved, paths } = await setting.pull("new");
    assert(pulled && moved >= size);
    await tool(`qemu-img check -q ${paths.disk} && qemu-img compare -q ${paths.disk} ${setting.image("home")}`);
    await tool(`cmp ${paths.initrd} ${setting.image("home", "initrd")}`);
    const again = await setting.pull("new");
    assertEquals([again.pulled, again.moved], [false, 0]);
  });
  await t.step("of the next build only what has changed is sent and fetched", async () => {
    await setting.change("a new feature");
    const { size, moved, digest } = await setting.push();
    assert(moved > 0 && moved < 0.15 * size, `${moved} of ${size}`);
    const pulled = await setting.pull("new");
    assert(pulled.pulled && pulled.moved < 0.15 * size, `${pulled.moved} of ${size}`);
    await tool(`qemu-img compare -q ${setting.image("new")} ${setting.image("home")}`);
    // An image that another program has put there counts, too.
    await Deno.copyFile(setting.image("home"), setting.image("new"));
    await Deno.remove(setting.image("new", "json"));
    const forced = await setting.pull("new", "--force");
    assert(forced.moved < 0.15 * size, `${forced.moved} of ${size}`);
    const pinned = await setting.run("push", "home", `${reference}@${digest}`);
    assertMatch(pinned.stderr, /is one certain image, which cannot be replaced: name a tag/);
  });
  await t.step("it goes on to another repository without being sent again", async () => {
    const run = await setting.run("push", "new", "--json", `oci://${registry.host}/prod/micro:v1`);
    assertCode(run, 0);
    assertEquals(JSON.parse(run.stdout).moved, 0);
  });
  await t.step("the same tag has a containerDisk, which skopeo and umoci read", async () => {
    const { digest } = await setting.push("--container-disk");
    const from = `docker://${registry.host}/team/micro`;
    const skopeo = (args: string) => tool(`skopeo ${args}`);
    const login = `--creds '${USER}:${PASSWORD}'`;
    const inspected = JSON.parse(await skopeo(`inspect --tls-verify=false ${login} ${from}:main`));
    assertEquals([inspected.Digest, inspected.Architecture, inspected.Os], [digest, ARCH, "linux"]);
    const layout = `${setting.guest.directory}/layout`;
    await skopeo(
      `copy -q --dest-oci-accept-uncompressed-layers --src-tls-verify=false --src-${
        login.slice(2)
      } ${from}:main oci:${layout}:main`,
    );
    const layer = inspected.Layers[0].replace("sha256:", "");
    const listed = await tool(`bsdtar --numeric-owner -tvf ${layout}/blobs/sha256/${layer}`);
    assertMatch(listed, /^-r--r-----\s+0 107\s+107 .* disk\/disk\.qcow2$/m);
    const bundle = `${setting.guest.directory}/bundle`;
    await tool(`umoci unpack --rootless --image ${layout}:main ${bundle}`);
    await tool(`cmp ${bundle}/rootfs/disk/disk.qcow2 ${setting.image("home")}`);
    // The whole index, with the chunks, to another place: hotboot pulls it from there.
    const all = `copy -q --all --src-tls-verify=false --dest-tls-verify=false ${login.replace("--", "--src-")} ${
      login.replace("--", "--dest-")
    }`;
    await skopeo(`${all} ${from}:main docker://${registry.host}/mirror/micro:main`);
    await Deno.remove(`${setting.guest.directory}/new`, { recursive: true });
    const profile = JSON.parse(await Deno.readTextFile(setting.guest.profile));
    profile.image.oci = `oci://${registry.host}/mirror/micro:main`;
    await Deno.writeTextFile(setting.guest.profile, JSON.stringify(profile));
    assert((await setting.pull("new")).pulled);
    await tool(`qemu-img compare -q ${setting.image("new")} ${setting.image("home")}`);
  });
  await t.step("a tag that names something else is not replaced", async () => {
    const layout = `${setting.guest.directory}/layout`;
    await tool(
      `skopeo copy -q --dest-tls-verify=false --dest-creds '${USER}:${PASSWORD}' oci:${layout}:main docker://${registry.host}/app:v1`,
    );
    const app = `oci://${registry.host}/app:v1`;
    await setting.refuses(
      "push",
      /app:v1 is there, and no image of hotboot's: name another tag, or replace it with --force/,
      app,
    );
    assertCode(await setting.run("push", "home", "--force", app), 0);
  });
});

Deno.test("oci: start pulls the image of a profile that has it in a registry, and boots it", async () => {
  await using registry = await RegistryServer.start();
  await using setting = await Setting.make(registry.host, { isWhole: true });
  await setting.push();
  assertCode(await setting.run("start", "new", "--cold", "--no-capture"), 0);
  assert((await setting.guest.health()).uptime > 0);
  assertMatch((await setting.run("status", "new")).stdout, /oci:\/\/\S+\/team\/micro:main@sha256:/);
  const refused = await setting.run("pull", "new", "--force", "--skip-snapshot");
  assertMatch(refused.stderr, /stop --discard/);
  assertCode(await setting.run("stop", "new", "--discard"), 0);
});

Deno.test("oci: a pull that is killed goes on where it stopped", async () => {
  await using registry = await RegistryServer.start();
  await using proxy = new FaultyProxy(registry.host);
  await using setting = await Setting.make(proxy.host);
  await setting.push();
  let [fetched, isHeld] = [0, false];
  proxy.disturb = async (request, forward) => {
    if (request.method !== "GET" || !request.url.includes("/blobs/")) return undefined;
    if (fetched >= 12) {
      isHeld = true;
      return await new Promise<never>(() => {});
    }
    fetched++;
    return await forward();
  };
  const child = spawnHotboot(setting.arguments("pull", "new", "--skip-snapshot"), { env: setting.env });
  await until(() => isHeld, "the held request");
  child.kill("SIGKILL");
  await Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
  proxy.disturb = undefined;
  const blobsOf = async (home: string) => {
    proxy.seen.length = 0;
    assert((await setting.pull(home)).pulled);
    return proxy.blobs.count;
  };
  const [rest, all] = [await blobsOf("new"), await blobsOf("whole")];
  // Of the twelve, the first is the description, which comes again, and six at most had come but were not yet written.
  assert(rest <= all - 5, `${rest} of ${all}`);
  await tool(`qemu-img compare -q ${setting.image("new")} ${setting.image("home")}`);
});

Deno.test("oci: tokens are got as the registry says, again when they have expired, and for its own login only", async (t) => {
  await using tokens = await TokenServer.start({ user: USER, password: PASSWORD });
  await using registry = await RegistryServer.start((directory) => tokens.configure(directory));
  await using setting = await Setting.make(registry.host);
  await setting.login();

  await t.step("a login is not sent to a host that the user has not named", async () => {
    await setting.refuses(
      "push",
      /wants its login to be sent to localhost:\d+: if you trust that host, add it to HOTBOOT_DOWNLOAD_HOSTS|is not a host that hotboot may connect to/,
    );
    assertEquals(tokens.logins, []);
  });
  setting.env.HOTBOOT_DOWNLOAD_HOSTS = tokens.host;
  await t.step("by a helper, with tokens that have expired and are renewed", async () => {
    const bin = `${setting.guest.directory}/bin`;
    await Deno.mkdir(bin);
    await Deno.writeTextFile(
      `${bin}/docker-credential-pass`,
      `#!/bin/sh\nread server\ntest "$1 $server" = "get ${registry.host}" || { echo "credentials not found in native keychain"; exit 1; }\n` +
        `echo '${JSON.stringify({ ServerURL: registry.host, Username: USER, Secret: PASSWORD })}'\n`,
    );
    await Deno.chmod(`${bin}/docker-credential-pass`, 0o755);
    setting.env.PATH = `${bin}:${Deno.env.get("PATH")}`;
    await setting.login({ credsStore: "pass" });
    tokens.givesExpired = true;
    await setting.push();
    assert((await setting.pull("new")).pulled);
    assert(tokens.given > 3, String(tokens.given));
    assertEquals([...new Set(tokens.logins)], [USER]);
  });
  await t.step("anonymously, where the registry allows it", async () => {
    await setting.login({});
    tokens.anonymous = ["pull"];
    assert((await setting.pull("anonymous")).pulled);
    await setting.refuses("push", /answered 401 .*docker login/, `oci://${registry.host}/team/other:v1`);
  });
  await t.step("a helper that fails is named", async () => {
    await setting.login({ credHelpers: { [registry.host]: "secretservice" } });
    await setting.refuses(
      "pull",
      /docker-credential-secretservice gives no login for .* \(it is not installed\): run 'docker login/,
    );
  });
});
