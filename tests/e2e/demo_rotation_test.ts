// needs: demo

import { assert, assertEquals, assertMatch } from "@std/assert";
import { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { rounds } from "./pace.ts";

const NAMES = ["PUBLISHABLE_CLIENT_KEY", "SECRET_SERVER_KEY", "SUPER_SECRET_ADMIN_KEY", "CRON_SECRET"];
type Values = Record<string, string>;
const PLACEHOLDERS: Values = Object.fromEntries(
  NAMES.map((name, index) => [name, "0".repeat(62) + ["ff", "ee", "dd", "cc"][index]]),
);
const RESUMES = rounds(3, 16);

const randomValues = (): Values =>
  Object.fromEntries(
    NAMES.map((name) => {
      const value = Array.from(
        crypto.getRandomValues(new Uint8Array(32)),
        (byte) => byte.toString(16).padStart(2, "0"),
      );
      return [name, value.join("")];
    }),
  );
const bytes = (text: string) => new TextEncoder().encode(text);
const payload = (values: Values) => Object.entries(values).map(([name, value]) => `${name}=${value}\n`).join("");
const credentialsOf = async (demo: GuestHome): Promise<Values> =>
  JSON.parse(await demo.succeed("credentials", ["--json"]));
const rotate = (demo: GuestHome, input: string) =>
  demo.run("exec", ["-i", "--", "/usr/local/sbin/trigger-fast-rotate"], { stdin: bytes(input) });

/** The guest's files that `find` names and that contain one of the values. */
async function filesWith(demo: GuestHome, values: string[], find: string): Promise<string> {
  // The values go through standard input, because the agent logs all command lines. It is a file while it is read.
  const script =
    `cat >/run/values; find ${find} ! -path /run/values ! -path '*/hotboot-exec.*' -exec grep -laFf /run/values {} +; rm /run/values`;
  return await demo.succeed("exec", ["-i", "--", "sh", "-c", script], { stdin: bytes(values.join("\n")) });
}

/** Asserts which keys the services accept and refuse, as a user would see it. */
async function assertInEffect(demo: GuestHome, right: Values, wrong: Values): Promise<void> {
  const backend = `http://127.0.0.1:${demo.ports.backend}`;
  const status = async (path: string, headers: HeadersInit, method = "GET") => {
    const response = await fetch(backend + path, { method, headers });
    await response.body?.cancel();
    return response.status;
  };
  const headers = ["x-stack-publishable-client-key", "x-stack-secret-server-key", "x-stack-super-secret-admin-key"];
  for (const [index, header] of headers.entries()) {
    assertEquals(await status("/api/v1/projects/current", { [header]: right[NAMES[index]] }), 200, header);
    assertEquals(await status("/api/v1/projects/current", { [header]: wrong[NAMES[index]] }), 401, header);
  }
  assertEquals(await status("/api/v1/cron", { authorization: `Bearer ${right.CRON_SECRET}` }, "POST"), 200);
  assertEquals(await status("/api/v1/cron", { authorization: `Bearer ${wrong.CRON_SECRET}` }, "POST"), 401);
  const page = await (await fetch(`http://127.0.0.1:${demo.ports.dashboard}/handler/sign-in`)).text();
  const script = page.match(/src="(\/assets\/[^"]+)"/)![1];
  const served = await (await fetch(`http://127.0.0.1:${demo.ports.dashboard}${script}`)).text();
  assert(served.includes(right.PUBLISHABLE_CLIENT_KEY) && !served.includes(wrong.PUBLISHABLE_CLIENT_KEY));
}

Deno.test("demo: the services have new secrets after each start and each successful rotation", async (t) => {
  // During the rotation, all command lines in the guest are noted.
  await using demo = await GuestHome.make({
    guest: "demo",
    captured: true,
    change: ({ rotation }) => {
      const note = "cat /proc/[0-9]*/cmdline 2>/dev/null >/run/command-lines; true"; // some end meanwhile
      rotation!.command = ["sh", "-c", `${rotation!.command[0]} || exit; ${note}`];
    },
  });
  const first = await demo.run("start", ["--json", "--verbose", "--no-fallback"]);
  assertCode(first, 0);
  const values = await credentialsOf(demo);
  assertEquals(Object.keys(values), NAMES);
  assertEquals(new Set([...Object.values(values), ...Object.values(PLACEHOLDERS)]).size, 8);
  await assertInEffect(demo, values, PLACEHOLDERS);

  await t.step("the secrets are where they must be and nowhere else", async () => {
    const hidden = Object.values(values);
    const secret = hidden.slice(1); // the first one is on every page of the dashboard
    assert(!hidden.some((value) => (first.stdout + first.stderr).includes(value)));
    for (const pid of await demo.qemuProcesses()) {
      const visible = await Deno.readTextFile(`/proc/${pid}/cmdline`) + await Deno.readTextFile(`/proc/${pid}/environ`);
      assert(!hidden.some((value) => visible.includes(value)));
    }
    const grep = async (paths: string[], ...options: string[]) => {
      const args = ["-rlaF", ...options, ...hidden.flatMap((value) => ["-e", value]), ...paths];
      const { stdout } = await new Deno.Command("grep", { args, stderr: "null" }).output();
      return new TextDecoder().decode(stdout).split("\n").filter((line) => line).sort();
    };
    assertEquals(await grep([`${demo.home}/snapshots`]), []);
    const instance = demo.instance;
    assertEquals(await grep([instance], "--devices=skip"), [`${instance}/credentials.json`, `${instance}/disk.qcow2`]);
    assertEquals((await Deno.stat(`${instance}/disk.qcow2`)).mode! & 0o777, 0o600);

    const everywhere = "/run/command-lines /var/log /tmp /run/log";
    assertEquals(await filesWith(demo, hidden, `${everywhere} -type f`), "");
    assertEquals(await filesWith(demo, secret, "/ /run -xdev -type f -perm -o=r -newer /etc/hostname"), "");
    const noted = await demo.exec("grep", "-ac", "qemu-ga", "/run/command-lines");
    assertEquals(noted, "1\n");
  });

  await t.step("a second rotation works, and so does a repeated one", async () => {
    const second = randomValues();
    for (let time = 0; time < 2; time++) {
      assertCode(await rotate(demo, payload(second)), 0);
      await assertInEffect(demo, second, values);
    }
    assertCode(await rotate(demo, payload(values)), 0);
    await assertInEffect(demo, values, second);
  });

  await t.step("bad input is refused before anything is touched", async () => {
    const other = randomValues();
    const changed = (change: (lines: string[]) => string[]) =>
      `${change(payload(other).trim().split("\n")).join("\n")}\n`;
    const instead = (value: string) => changed(([one, ...rest]) => [`${one.slice(0, 23)}${value}`, ...rest]);
    const inputs: Record<string, string> = {
      "63 digits": instead("a".repeat(63)),
      "65 digits": instead("a".repeat(65)),
      "a quote": instead(`${"a".repeat(63)}'`),
      "a command": instead("$(reboot)"),
      "a newline": instead(`${"a".repeat(32)}\n${"a".repeat(32)}`),
      "no digit": instead("g".repeat(64)),
      "NUL": instead(`${"a".repeat(64)}\0`),
      "1 MiB": instead("a".repeat(1 << 20)),
      "a missing secret": changed((lines) => lines.slice(1)),
      "a duplicate secret": changed((lines) => [...lines, lines[0]]),
      "an unknown secret": changed((lines) => [...lines, `PATH=${"a".repeat(64)}`]),
      "nothing": "",
    };
    for (const [title, input] of Object.entries(inputs)) {
      const run = await rotate(demo, input);
      assertEquals(run.code, 2, title);
      assertMatch(run.stderr, /^rotate-secrets: [^\n]*: nothing was changed\n$/, title);
      assert(!run.stderr.includes(other.SECRET_SERVER_KEY) && !/a{30}/.test(run.stderr), title);
    }
    await assertInEffect(demo, values, other);
  });

  await t.step("if the database refuses the new secrets, the old ones stay everywhere", async () => {
    const other = randomValues();
    const set = async (value: string) => {
      await demo.exec("psql", "-qc", `ALTER SYSTEM SET default_transaction_read_only = ${value}`, "stack");
      await demo.exec("psql", "-qAtc", "SELECT pg_reload_conf()", "stack");
    };
    await set("on");
    const refused = await rotate(demo, payload(other));
    assertCode(refused, 1);
    assertMatch(
      refused.stderr,
      /PostgreSQL: cannot execute UPDATE in a read-only transaction\n.*the old secrets stay in effect\n$/,
    );
    await demo.exec("psql", "-qc", "SET default_transaction_read_only = off; ALTER SYSTEM RESET ALL", "stack")
      .catch(() => demo.exec("sh", "-c", "rm /var/lib/database/postgresql.auto.conf"));
    await demo.exec("systemctl", "restart", "database");
    await demo.exec("sh", "-c", "until psql -qAtc 'SELECT 1' stack >/dev/null 2>&1; do sleep 0.1; done");
    await assertInEffect(demo, values, other);

    await demo.exec("systemctl", "stop", "database");
    const down = await rotate(demo, payload(other));
    assertCode(down, 1);
    assertMatch(down.stderr, /PostgreSQL cannot be reached: [^\n]*\n.*the old secrets stay in effect\n$/);
    await demo.exec("systemctl", "start", "database");
    await demo.exec("sh", "-c", "until psql -qAtc 'SELECT 1' stack >/dev/null 2>&1; do sleep 0.1; done");
    await assertInEffect(demo, values, other);
    assertEquals(await demo.exec("sh", "-c", "ls -A /srv/rotation"), "");
    assertEquals(await filesWith(demo, Object.values(other), "/var/log /run/log -type f"), "");
  });

  await t.step("services that supervisor restarts keep their secrets and find their ports free", async () => {
    await demo.exec("supervisorctl", "restart", "all");
    await demo.exec("sh", "-c", "until [ $(supervisorctl status | grep -c RUNNING) = 3 ]; do sleep 0.2; done");
    await assertInEffect(demo, values, PLACEHOLDERS);
    await demo.succeed("stop", ["--discard"]);
  });

  await t.step("a cold boot has new secrets, too", async () => {
    assertEquals((await demo.start("--cold")).origin, "cold boot");
    const booted = await credentialsOf(demo);
    assertEquals(
      new Set([...Object.values(booted), ...Object.values(values), ...Object.values(PLACEHOLDERS)]).size,
      12,
    );
    await assertInEffect(demo, booted, values);
    await assertInEffect(demo, booted, PLACEHOLDERS);
  });
});

/**
 * A service that runs during the capture, and keeps noting what must differ between two resumes, random numbers
 * first. It may be frozen in the middle, so its first action after the thaw follows "begin". Its connection to the
 * database is an old one that has already drawn random numbers.
 */
const WITNESS = `
import os, time, psycopg2
database = None
def draw():
    global database
    for attempt in range(2):
        try:
            if database is None:
                database = psycopg2.connect(dbname="stack")
            with database.cursor() as cursor:
                cursor.execute("SELECT gen_random_uuid()")
                return cursor.fetchone()[0]
        except psycopg2.OperationalError:
            database = None
with open("/run/witness", "w", buffering=1) as log:
    while True:
        print("begin", file=log)
        uuid = open("/proc/sys/kernel/random/uuid").read().strip()
        noise = open("/dev/urandom", "rb", buffering=0).read(32).hex()
        clock = time.time()
        print(uuid, noise, draw(), clock, file=log)
        time.sleep(0.005)
`;

Deno.test(`demo: in ${RESUMES} resumes of one snapshot, nothing runs before it is unique`, async () => {
  await using demo = await GuestHome.make({
    guest: "demo",
    change: (profile) => {
      profile.freeze!.push({ unit: "witness.service" });
      profile.hooks = {
        beforeCapture: [
          ["systemd-run", "--quiet", "--unit=witness", "/usr/bin/python3", "-c", WITNESS],
          ["sh", "-c", "until [ -s /run/witness ]; do sleep 0.1; done"],
        ],
        // It is still frozen then.
        afterResume: [["sh", "-c", "wc -l </run/witness >/run/witnessed"]],
      };
    },
  });
  await demo.succeed("capture");
  const columns: string[][] = [[], [], []];
  for (let resume = 0; resume < RESUMES; resume++) {
    const before = Date.now();
    await demo.start("--no-fallback");
    const log = await demo.exec("sh", "-c", "tail -n +$(($(cat /run/witnessed) + 1)) /run/witness");
    const [, uuid, noise, drawn, clock] = log.match(/^begin\n(\S+) (\S+) (\S+) (\S+)$/m)!;
    for (const [column, value] of [uuid, noise, drawn].entries()) columns[column].push(value);
    const time = Number(clock) * 1000;
    assert(time > before - 1000 && time < Date.now() + 1000, `${new Date(time).toISOString()} in resume ${resume}`);
    await demo.succeed("stop", ["--discard"]);
  }
  for (const values of columns) assertEquals(new Set(values).size, RESUMES, values.join("\n"));
});
