/** The built-in stack profile, as its users call it, on the guest that stands in for the stack. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { ARCH, assertCode, freePort, GuestHome, hotboot } from "./harness.ts";

const PREFIX = "STACK_SEED_INTERNAL_PROJECT_";

Deno.test("stack: its image is captured, resumed and rotated where and how its users' variables say", async (t) => {
  await using guest = await GuestHome.make({ guest: "stack-like" });
  const home = `${guest.directory}/emulator`;
  await Deno.mkdir(`${home}/images`, { recursive: true });
  for (const end of [".qcow2", ".json"]) {
    await Deno.symlink(`${guest.home}/images/stack-like-${ARCH}${end}`, `${home}/images/stack-emulator-${ARCH}${end}`);
  }
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
      assertEquals(await Deno.stat(file).catch(() => undefined), undefined);
      assertEquals((await json(["start", "--no-fallback"])).origin, "resume");
      assertNotEquals(await Deno.readTextFile(file), before);
      assertCode(await run(["stop", "--discard"]), 0);
    });

    await t.step("without rotation the guest has the placeholders, and there is no such file", async () => {
      const started = await run(["start", "--no-fallback"], { EMULATOR_NO_ROTATION: "1" });
      assertCode(started, 0);
      assertMatch(started.stderr, /secrets were NOT rotated/);
      assertEquals(await Deno.stat(file).catch(() => undefined), undefined);
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
