/** The built-in stack profile, as its users call it, on the guest that stands in for the stack. */
// needs: stack-like

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { exists } from "@std/fs/exists";
import { GitHubServer } from "./github_server.ts";
import { ARCH, assertCode, freePort, GuestHome, hotboot } from "./harness.ts";

const PREFIX = "STACK_SEED_INTERNAL_PROJECT_";

Deno.test("stack: its image is captured, resumed and rotated where and how its users' variables say", async (t) => {
  await using guest = await GuestHome.make({ guest: "stack-like" });
  const home = `${guest.directory}/emulator`;
  await using github = new GitHubServer("stack-auth/stack-auth");
  const disk = await Deno.readFile(`${guest.home}/images/stack-like-${ARCH}.qcow2`);
  github.release("emulator-dev-latest", [{ name: `stack-emulator-${ARCH}.qcow2`, bytes: disk }]);
  const ports = { dashboard: freePort(), backend: freePort(), minio: freePort(), inbucket: freePort() };
  const env = {
    ...Object.fromEntries(
      Object.entries(ports).map(([name, port]) => [`EMULATOR_${name.toUpperCase()}_PORT`, `${port}`]),
    ),
    HOTBOOT_HOME: "",
    HOTBOOT_TEST_HOME: guest.directory,
    STACK_EMULATOR_HOME: home,
    EMULATOR_RAM: "1024",
    EMULATOR_CPUS: "2",
    PORT_PREFIX: "92",
    HOTBOOT_GITHUB_API: github.api,
    HOTBOOT_DOWNLOAD_HOSTS: new URL(github.storage.origin).host,
    GITHUB_TOKEN: "",
    GH_TOKEN: "",
  };
  const run = (args: string[], more: Record<string, string> = {}) =>
    hotboot(args, { cwd: guest.directory, env: { ...env, ...more } });
  const json = async (args: string[], more?: Record<string, string>) => {
    const done = await run([...args, "--json"], more);
    assertCode(done, 0);
    return JSON.parse(done.stdout);
  };
  const file = `${home}/run/vm/internal-pck`;

  try {
    await t.step("its image is pulled, and only that when there is to be no snapshot", async () => {
      const pulled = await json(["pull"], { EMULATOR_NO_SNAPSHOT: "1" });
      assertEquals([pulled.pulled, pulled.snapshot], [true, undefined]);
      assertEquals(pulled.paths.disk, `${home}/images/stack-emulator-${ARCH}.qcow2`);
      assertEquals(pulled.origin.repository, "stack-auth/stack-auth");
    });

    await t.step("the first start captures", async () => {
      const started = await json(["start"]);
      assertEquals(started.origin, "resume");
      const url = (port: number) => `http://127.0.0.1:${port}`;
      const urls = Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, url(port)]));
      assertEquals(started.urls, { ...urls, oauth: url(9214) });
      const status = await json(["status"]);
      assertEquals(status.running.health, { backend: true, dashboard: true, MinIO: true, Inbucket: true });
      assertEquals((await fetch(`${url(9214)}/.well-known/openid-configuration`)).status, 200);
      const config = await (await fetch(`${urls.backend}/api/v1/config`)).json();
      assertEquals(config, {
        STACK_EMULATOR_PORT_PREFIX: "92",
        STACK_EMULATOR_DASHBOARD_HOST_PORT: `${ports.dashboard}`,
        STACK_EMULATOR_BACKEND_HOST_PORT: `${ports.backend}`,
        STACK_EMULATOR_MINIO_HOST_PORT: `${ports.minio}`,
        STACK_EMULATOR_INBUCKET_HOST_PORT: `${ports.inbucket}`,
        STACK_EMULATOR_VM_DIR_HOST: `${home}/run/vm`,
      });
    });

    await t.step("its key is in internal-pck, and the next start has another", async () => {
      const before = await Deno.readTextFile(file);
      assertMatch(before, /^[0-9a-f]{64}$/);
      assertEquals((await Deno.stat(file)).mode! & 0o777, 0o600);
      assertEquals((await json(["credentials"]))[`${PREFIX}PUBLISHABLE_CLIENT_KEY`], before);
      assertCode(await run(["stop", "--discard"]), 0);
      assert(!await exists(file));
      assertEquals((await json(["start", "--no-fallback"])).origin, "resume");
      assertNotEquals(await Deno.readTextFile(file), before);
      assertCode(await run(["stop", "--discard"]), 0);
    });

    const config = `${guest.directory}/stack.config.ts`;
    await Deno.writeTextFile(config, "export const config = {};\n");
    let project: Record<string, string>;
    await t.step("a config file's project: its keys are printed, and nothing else", async () => {
      const started = await run(["start", "--config-file", "stack.config.ts"]);
      assertCode(started, 0);
      project = JSON.parse(started.stdout);
      assertEquals(Object.keys(project), ["project_id", "publishable_client_key", "secret_server_key"]);
      const headers = { "x-stack-secret-server-key": project.secret_server_key };
      const current = await fetch(`http://127.0.0.1:${ports.backend}/api/v1/projects/current`, { headers });
      assertEquals((await current.json()).id, project.project_id);
    });

    await t.step("what the host shares is there, and cannot be written", async () => {
      const inGuest = (...command: string[]) => run(["exec", "--", ...command]);
      assertEquals((await inGuest("cat", `/host${config}`)).stdout, "export const config = {};\n");
      const written = await inGuest("sh", "-c", `echo changed >/host${config}`);
      assertNotEquals(written.code, 0);
      assertMatch(written.stderr, /Read-only/i);
    });

    await t.step("suspended, it goes on with its keys, its projects and its share", async () => {
      const before = await Deno.readTextFile(file);
      assertCode(await run(["stop"]), 0);
      assertEquals(await Deno.readTextFile(file), before);
      assertEquals((await json(["start", "--no-fallback"])).origin, "continue");
      assertEquals(await Deno.readTextFile(file), before);
      assertEquals(JSON.parse((await run(["start", "--config-file", config])).stdout), project);
      assertCode(await run(["exec", "--", "test", "-f", `/host${config}`]), 0);
      assertCode(await run(["stop", "--discard"]), 0);
    });

    await t.step("run: a program while it is up, with the project in its environment", async () => {
      const done = await run(["run", "-q", "--config-file", config, "--", "sh", "-c", "env; exit 7"]);
      assertCode(done, 7);
      const names = ["PROJECT_ID", "PUBLISHABLE_CLIENT_KEY", "API_URL"];
      const found = Object.fromEntries(done.stdout.split("\n").map((line) => line.split("=")));
      for (const prefix of ["", "NEXT_PUBLIC_", "VITE_", "EXPO_PUBLIC_"]) {
        for (const name of names) assertEquals(found[`${prefix}STACK_${name}`], found[`STACK_${name}`], prefix + name);
      }
      assertMatch(found.STACK_PROJECT_ID, /^[0-9a-f-]{36}$/);
      assertMatch(
        `${found.STACK_PUBLISHABLE_CLIENT_KEY} ${found.STACK_SECRET_SERVER_KEY}`,
        /^[0-9a-f]{64} [0-9a-f]{64}$/,
      );
      assertEquals(found.STACK_API_URL, `http://127.0.0.1:${ports.backend}`);
      assertEquals((await json(["status"])).state, "suspended");
      assertCode(await run(["reset"]), 0);
    });

    await t.step("without rotation the guest has the placeholders, and there is no such file", async () => {
      const started = await run(["start", "--no-fallback"], { EMULATOR_NO_ROTATION: "1" });
      assertCode(started, 0);
      assertMatch(started.stderr, /secrets were NOT rotated/);
      assert(!await exists(file));
      const headers = { "x-stack-publishable-client-key": `${"0".repeat(62)}ff` };
      const current = await fetch(`http://127.0.0.1:${ports.backend}/api/v1/projects/current`, { headers });
      assertEquals((await current.json()).id, "internal");
    });

    await t.step("its limits are those of the variables", async () => {
      assertCode(await run(["reset"]), 0);
      const late = await run(["start"], { EMULATOR_READY_TIMEOUT: "1", EMULATOR_NO_SNAPSHOT: "1" });
      assertCode(late, 1);
      assertMatch(late.stderr, /not healthy.* 1(\.0+)? ?s/);
      assert(late.stderr.includes("backend"), late.stderr);
    });
  } finally {
    await run(["reset"]);
  }
});
