// needs: stack-standin

/** The built-in profile `stack`, as its users call it, with a stand-in for their guest: see standin/user-data.yaml. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { assertCode } from "./program.ts";
import { rounds, until } from "./pace.ts";
import { PLACEHOLDERS, PORT_PREFIX, SECRETS, StackHome, warnings } from "./stack_home.ts";

const ACCEPTED = { client: 200, server: 200, admin: 200, cron: 200 };
const REFUSED = { client: 401, server: 401, admin: 401, cron: 401 };
/** The config that an empty file gets. */
const EMPTY_CONFIG = "export const config = {};\n";

Deno.test("stack: pulls, captures, resumes with new secrets and the host's files, suspends and boots", async (t) => {
  await using stack = await StackHome.make();
  const { directory, ports, github } = stack;
  const healthy = { backend: true, dashboard: true, MinIO: true, Inbucket: true };

  await t.step("list-releases shows only the emulator's releases", async () => {
    github.release("v2.8.1", [{ name: "stack.tgz", bytes: new Uint8Array(1) }]);
    github.release("emulator-main-latest", []);
    const tags = (await stack.json(["list-releases"])).map(({ tag }: { tag: string }) => tag);
    assertEquals(tags, ["emulator-dev-latest", "emulator-main-latest"]);
  });

  await t.step("its image is pulled, without a snapshot if there should be none", async () => {
    const pulled = await stack.json(["pull"], { EMULATOR_NO_SNAPSHOT: "1" });
    assertEquals([pulled.pulled, pulled.snapshot, pulled.paths.disk], [true, undefined, stack.disk]);
    assertEquals(pulled.origin.repository, "stack-auth/stack-auth");
    assertEquals((await stack.status()).code, 1);
  });

  await t.step("a missing config file is an error before anything starts", async () => {
    const run = await stack.run(["start", "--config-file", "missing.ts"]);
    assertCode(run, 1);
    assertEquals(run.stderr, `hotboot: the config file missing.ts does not exist: name one that does\n`);
  });

  await t.step("the first start captures", async () => {
    const { origin, urls } = await stack.start();
    assertEquals(origin, "resume");
    const hosts = { ...ports, oauth: Number(`${PORT_PREFIX}14`) };
    const expected = Object.entries(hosts).map(([name, port]) => [name, `http://localhost:${port}`]);
    assertEquals(urls, Object.fromEntries(expected));
    const { code, running } = await stack.status();
    assertEquals([code, running.health], [0, healthy]);
    assertEquals((await fetch(`${urls.oauth}/.well-known/openid-configuration`)).status, 200);
  });

  await t.step("its machine and its container know the host's ports", async () => {
    const names = [
      "DASHBOARD_PORT",
      "NEXT_PUBLIC_STACK_API_URL",
      "STACK_S3_PUBLIC_ENDPOINT",
      "STACK_EMULATOR_VM_DIR_HOST",
    ];
    assertEquals(
      (await stack.inContainer(`printf '%s\\n' ${names.map((name) => `"$${name}"`).join(" ")}`)).split("\n"),
      [
        `${PORT_PREFIX}01`,
        `http://localhost:${ports.backend}`,
        `http://localhost:${ports.minio}/stack-storage`,
        ...["", ""],
      ],
    );
    assertMatch(await dashboardScript(stack), RegExp(`"http://localhost:${ports.backend}"`));
  });

  await t.step("cloud-init has left nothing superfluous", async () => {
    const size = Number(await stack.exec("sh", "-c", "df --output=size -B1048576 / | tail -1"));
    assert(size > 3700 && size < 4096, `${size} MiB`);
    assertEquals(
      await stack.exec("sh", "-c", "systemctl is-active cloud-init cloud-final || true"),
      "inactive\n".repeat(2),
    );
    assertEquals(await stack.exec("sh", "-c", "ls -d /var/lib/cloud/instance* 2>/dev/null || true"), "");
    assertMatch(await stack.exec("cat", "/etc/machine-id"), /^[0-9a-f]{32}\n$/);
    assertEquals(await stack.exec("systemctl", "--failed", "--no-legend"), "");
  });

  await t.step("each resume has new keys, which are proven", async () => {
    const seen = new Set<string>();
    const count = rounds(2, 5);
    for (let round = 0; round < count; round++) {
      await stack.succeed(["stop", "--discard"]);
      assertEquals(await stack.internalPck(), undefined);
      const run = await stack.run(["start", "--no-fallback", "--verbose"]);
      assertCode(run, 0);
      assertEquals(warnings(run), []);
      assertEquals(run.stderr.match(/^hotboot: proven: /gm)?.length, 9, run.stderr);
      const keys = await stack.keys();
      for (const key of Object.values(keys)) seen.add(key);
      assertEquals(await stack.statuses(keys), ACCEPTED);
      assertEquals(await stack.statuses(PLACEHOLDERS), REFUSED);
      const script = await dashboardScript(stack);
      assert(script.includes(keys.client) && !script.includes(PLACEHOLDERS.client), script);
      assertEquals(await stack.internalPck(), keys.client);
      assertEquals((await Deno.stat(stack.file("internal-pck"))).mode! & 0o777, 0o600);
    }
    assertEquals(seen.size, count * Object.keys(SECRETS).length);
  });

  const config = `${directory}/stack.config.ts`;
  const open = async (file: string) => JSON.parse(await stack.succeed(["start", "--quiet", "--config-file", file]));
  let project: Record<string, string>;
  await t.step("an empty config file gets a config through the share, and its project has keys", async () => {
    await Deno.writeTextFile(config, "");
    project = await open("stack.config.ts");
    assertEquals(Object.keys(project), ["project_id", "publishable_client_key", "secret_server_key"]);
    assertEquals(await Deno.readTextFile(config), EMPTY_CONFIG);
    assertEquals(await statusOf(stack, project), 200);
    assertEquals(await statusOf(stack, { ...project, secret_server_key: PLACEHOLDERS.server }), 401);
  });

  await t.step("an existing config file stays as it is, and has its own project", async () => {
    const other = `${directory}/a directory/other.ts`;
    await Deno.mkdir(`${directory}/a directory`);
    await Deno.writeTextFile(other, "export const config = { teams: {} };\n");
    const { project_id } = await open(other);
    assertNotEquals(project_id, project.project_id);
    assertEquals(await Deno.readTextFile(other), "export const config = { teams: {} };\n");
    assertEquals(await open(config), project);
  });

  await t.step("after a suspension it continues with its keys, its projects and the host's files", async () => {
    const before = await stack.keys();
    await stack.succeed(["stop"]);
    assertEquals((await stack.status()).state, "suspended");
    assertEquals(await stack.internalPck(), before.client);
    await Deno.writeTextFile(config, "export const config = { changed: true };\n");
    assertEquals((await stack.start("--no-fallback")).origin, "continue");
    assertEquals(await stack.keys(), before);
    assertEquals(await stack.statuses(before), ACCEPTED);
    assertEquals(await open(config), project);
    assertEquals(await stack.inContainer(`cat '/host${config}'`), "export const config = { changed: true };\n");
  });

  await t.step("a restarted container has its placeholders back until the next start", async () => {
    const before = await stack.keys();
    await stack.exec("systemctl", "restart", "stack.service");
    // Its services are up before it puts its placeholders into the database, which still has the keys.
    let lost = await stack.status();
    await until(
      async () => {
        lost = await stack.status();
        return lost.running.lostSecrets !== undefined && Object.values(lost.running.health).every(Boolean);
      },
      "placeholders, in services that are healthy",
      10,
    );
    assertEquals([lost.code, lost.state], [1, "running"]);
    assertMatch(lost.running.lostSecrets, /^the backend refuses the placeholder of the publishable client key \(/);
    const run = await stack.run(["start"]);
    assertCode(run, 0);
    assertMatch(run.stderr, /warning: its own secrets were no longer in effect, putting them in again: /);
    assertEquals((await stack.status()).code, 0);
    assertEquals(await stack.keys(), before);
    assertEquals(await stack.statuses(before), ACCEPTED);
    assertEquals(await open(config), project);
  });

  await t.step("then the container holds the host's files, so the guest is not suspended and runs on", async () => {
    const run = await stack.run(["stop"]);
    assertCode(run, 1);
    assertMatch(
      run.stderr,
      /: the guest uses the host's files: '[^']+' \(process \d+\) has mounted them at \/host in a container; /,
    );
    assertEquals(await open(config), project);
    await stack.succeed(["reset"]);
  });

  await t.step("run: a shell command gets the project in its environment", async () => {
    const done = await stack.run(["run", "-q", "--config-file", config, "env; exit 7"]);
    assertCode(done, 7);
    assertEquals(warnings(done), []);
    const found = Object.fromEntries(done.stdout.split("\n").map((line) => line.split("=")));
    for (const name of ["PROJECT_ID", "PUBLISHABLE_CLIENT_KEY", "API_URL"]) {
      for (const prefix of ["NEXT_PUBLIC_", "VITE_", "EXPO_PUBLIC_"]) {
        assertEquals(found[`${prefix}STACK_${name}`], found[`STACK_${name}`], prefix + name);
      }
    }
    assertEquals(found.STACK_API_URL, `http://127.0.0.1:${ports.backend}`);
    assertEquals((await stack.status()).state, "suspended");
    await stack.succeed(["start", "--no-fallback"]);
    assertEquals(
      await statusOf(stack, { project_id: found.STACK_PROJECT_ID, secret_server_key: found.STACK_SECRET_SERVER_KEY }),
      200,
    );
    await stack.succeed(["reset"]);
  });

  await t.step("without rotation, the placeholders are in effect and in internal-pck", async () => {
    const run = await stack.run(["start", "--no-fallback"], { EMULATOR_NO_ROTATION: "1" });
    assertCode(run, 0);
    assertEquals(warnings(run).length, 1);
    assertMatch(run.stderr, /secrets were NOT rotated/);
    assertEquals(await stack.internalPck(), PLACEHOLDERS.client);
    assertEquals(await stack.statuses(PLACEHOLDERS), ACCEPTED);
    assertEquals(await statusOf(stack, await open(config)), 200);
    await stack.succeed(["stop", "--discard"]);
    assertEquals(await stack.internalPck(), undefined);
  });

  await t.step("another program's disk in the instance's place is kept", async () => {
    await Deno.writeTextFile(stack.file("disk.qcow2"), "of another program");
    await stack.succeed(["stop"]);
    assertEquals(await Deno.readTextFile(stack.file("disk.qcow2")), "of another program");
    const run = await stack.run(["start", "--no-fallback"]);
    assertCode(run, 0);
    const [, aside] = run.stderr.match(/warning: \S+\/disk\.qcow2 was not made by hotboot: renamed to (\S+)\n/) ?? [];
    assertEquals(await Deno.readTextFile(aside), "of another program");
    await stack.succeed(["stop", "--discard"]);
    assertEquals(await Deno.readTextFile(aside), "of another program");
  });

  await t.step(
    "an image that was put in place by hand is adopted, and pull replaces it only with --force",
    async () => {
      const record = stack.disk.replace(/qcow2$/, "json");
      await Deno.remove(record); // a disk that was put there by hand has none
      const { image, code } = await stack.status();
      assertEquals([code, image], [1, {
        error: `${stack.disk} was not put there by hotboot: 'hotboot start' adopts it`,
      }]);
      const refused = await stack.run(["pull", "--skip-snapshot"]);
      assertCode(refused, 1);
      assertMatch(refused.stderr, /was not put there by hotboot, so it stays: --force replaces it/);
      assertEquals((await stack.start("--no-fallback")).origin, "resume");
      assertEquals((await stack.status()).image.origin, { kind: "adopted" });
      await stack.succeed(["stop", "--discard"]);
      assertCode(await stack.run(["pull", "--skip-snapshot"]), 1);
      const pulled = await stack.json(["pull", "--skip-snapshot", "--force"]);
      assertEquals([pulled.pulled, pulled.origin.kind], [true, "release"]);
    },
  );

  await t.step("variables set its limits, and EMULATOR_NO_SNAPSHOT boots it", async () => {
    const late = await stack.run(["start"], { EMULATOR_READY_TIMEOUT: "1", EMULATOR_NO_SNAPSHOT: "1" });
    assertCode(late, 1);
    assertMatch(late.stderr, /^hotboot: cold boot \(1024 MiB/m);
    assertMatch(late.stderr, /not healthy within 1 s: [^\n]*backend/);
  });

  await t.step("after a boot it has new keys and the host's files, and can be suspended", async () => {
    assertEquals((await stack.start("--cold")).origin, "cold boot");
    const keys = await stack.keys();
    assertEquals(await stack.statuses(keys), ACCEPTED);
    assertEquals(await stack.statuses(PLACEHOLDERS), REFUSED);
    await Deno.writeTextFile(config, "");
    project = await open(config);
    assertEquals(await Deno.readTextFile(config), EMPTY_CONFIG);
    await stack.succeed(["stop"]);
    assertEquals((await stack.start("--no-fallback")).origin, "continue");
    assertEquals(await stack.keys(), keys);
    assertEquals(await open(config), project);
  });
});

/** The script of the dashboard's page. */
async function dashboardScript({ ports }: StackHome): Promise<string> {
  const origin = `http://127.0.0.1:${ports.dashboard}`;
  const page = await (await fetch(`${origin}/handler/sign-in`)).text();
  return await (await fetch(origin + page.match(/<script src="([^"]+)"/)![1])).text();
}

/** The backend's answer to a project's key. */
async function statusOf(stack: StackHome, project: Record<string, string>): Promise<number> {
  const { status } = await stack.ask("/api/v1/projects/current", {
    "x-stack-project-id": project.project_id,
    "x-stack-access-type": "server",
    "x-stack-secret-server-key": project.secret_server_key,
  });
  return status;
}
