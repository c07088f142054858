// needs: demo

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { sleep } from "../../lib/base/wait.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { rounds, until } from "./pace.ts";
import { tool } from "./tool.ts";

Deno.test("demo: a database, a backend, a dashboard and a cron worker come back warm", async (t) => {
  await using demo = await GuestHome.make({ guest: "demo", captured: true });
  const backend = `http://127.0.0.1:${demo.ports.backend}`;
  const dashboard = `http://127.0.0.1:${demo.ports.dashboard}`;
  const get = async (url: string, headers: Record<string, string> = {}) => {
    const response = await fetch(url, { headers });
    return { status: response.status, text: await response.text() };
  };
  const notes = async () => JSON.parse((await get(`${backend}/api/v1/notes`)).text);
  const addNote = async (text: string) => {
    const response = await fetch(`${backend}/api/v1/notes`, { method: "POST", body: text });
    await response.body?.cancel();
    assertEquals(response.status, 201);
  };
  const query = async (sql: string) =>
    (await demo.exec("runuser", "-u", "postgres", "--", "psql", "-qAtc", sql, "stack")).trim();

  const first = await demo.start("--no-fallback");
  assertEquals(first.origin, "resume");

  await t.step("the database answers through the backend, with the current time", async () => {
    assertEquals(await get(`${backend}/health?db=1`), { status: 200, text: '{"status": "ok"}' });
    const before = Date.now();
    const guest = Number(await query("SELECT extract(epoch FROM clock_timestamp()) * 1000"));
    assert(guest > before - 1000 && guest < Date.now() + 1000, `${guest} is not about ${before}`);
  });

  await t.step("the dashboard has a built script with a key that the backend accepts", async () => {
    const page = await get(`${dashboard}/handler/sign-in`);
    assertEquals(page.status, 200);
    const script = page.text.match(/src="(\/assets\/app-[0-9a-f]{8}\.js)"/)?.[1];
    assert(script !== undefined, page.text);
    const key = (await get(`${dashboard}${script}`)).text.match(/"([0-9a-f]{64})"/)?.[1];
    const another = key!.replace(/.$/, (digit) => digit === "0" ? "1" : "0");
    const project = `${dashboard}/api/v1/projects/current`;
    assertEquals((await get(project, { "x-stack-publishable-client-key": key! })).status, 200);
    assertEquals((await get(project, { "x-stack-publishable-client-key": another })).status, 401);
    assertEquals((await get(project)).status, 401);
  });

  await t.step("the guest knows its host ports from the config disk", async () => {
    assertEquals(JSON.parse((await get(`${dashboard}/api/v1/config`)).text), {
      DASHBOARD_URL: dashboard,
      BACKEND_URL: backend,
    });
  });

  await t.step("the cron worker's calls are accepted", async () => {
    const count = async () => Number(JSON.parse((await get(`${backend}/api/v1/cron/last`)).text).count);
    const begin = await count();
    await until(async () => await count() > begin, "another call");
  });

  await t.step("a discarded session's writes are gone after the next start, and PostgreSQL is sound", async () => {
    await addNote("first session");
    assertEquals(await notes(), ["first session"]);
    await demo.succeed("stop", ["--discard"]);
    const second = await demo.start("--no-fallback");
    assertEquals([second.origin, second.snapshot], ["resume", first.snapshot]);
    assertEquals(await notes(), []);
    await addNote("second session");
    assertEquals(await query(`SELECT string_agg("text", ',') FROM "Note"`), "second session");
    assertMatch(await query("CHECKPOINT; SELECT pg_is_in_recovery()"), /f/);
    assertEquals(
      await demo.exec("sh", "-c", "journalctl -q -u database | grep -ciE 'panic|corrupt' || true"),
      "0\n",
    );
  });

  await t.step("the kernel notices each resume by a new generation id", async () => {
    const seen = async () => await demo.exec("sh", "-c", "dmesg | grep -c 'crng reseeded due to virtual machine fork'");
    const before = await seen();
    await demo.succeed("stop", ["--discard"]);
    await demo.start("--no-fallback");
    assertEquals(await seen(), before); // once per resume, not once ever
    assertNotEquals(before, "0\n");
  });
});

/** PostgreSQL's own checks of indexes and tables. */
const INDEXES = `CREATE EXTENSION IF NOT EXISTS amcheck;
  SELECT count(bt_index_check(c.oid, true)) > 50 FROM pg_class c JOIN pg_am a ON a.oid = c.relam
    WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p'`;
const HEAP = `SELECT count(*) FROM pg_class c, verify_heapam(c.oid) WHERE c.relkind = 'r' AND c.relpersistence = 'p'`;

Deno.test("demo: no committed row is lost over sessions, checkpoints and forks under load", async (t) => {
  const cycles = rounds(2, 20);
  await using demo = await GuestHome.started({ guest: "demo" });
  const secrets = await demo.succeed("credentials", ["--env"]);
  const notes = `http://127.0.0.1:${demo.ports.backend}/api/v1/notes`;
  const committed: string[] = [];
  /** How many rows there were before each checkpoint. */
  const saved: number[] = [];
  let isOver = false;
  const load = (async () => {
    for (let number = 0; !isOver; number++) {
      const text = `note ${number}`;
      // A request that arrives while the machine is loading gets no answer; the next one does.
      const request = fetch(notes, { method: "POST", body: text, signal: AbortSignal.timeout(1000) });
      const isCommitted = await request.then(async (response) => {
        await response.body?.cancel();
        return response.status === 201;
      }, () => false);
      if (isCommitted) committed.push(text);
      else await sleep(50);
    }
  })();
  for (let cycle = 0; cycle < cycles; cycle++) {
    // On any machine, however slow, the load has continued and is under way.
    const before = committed.length;
    await until(() => committed.length >= before + 3, `progress of the load in cycle ${cycle}, after ${before} rows`);
    saved.push(committed.length);
    await demo.succeed("snapshot save", [`cycle-${cycle}`]);
    await demo.succeed("stop");
    assertEquals(await demo.succeed("credentials", ["--env"]), secrets);
    assertEquals((await demo.start()).origin, "continue");
  }
  isOver = true;
  await load;
  assertEquals(await demo.succeed("credentials", ["--env"]), secrets);

  await t.step("the rows are there, and the database is sound", async () => {
    const there = new Set(await (await fetch(notes)).json());
    assertEquals(committed.filter((text) => !there.has(text)), []);
    assertEquals((await demo.exec("psql", "-qAtc", INDEXES, "stack")).trim(), "t");
    assertEquals((await demo.exec("psql", "-qAtc", HEAP, "stack")).trim(), "0");
  });
  await t.step("they are also in a fork of each checkpoint, beside the instance itself", async () => {
    for (const [cycle, count] of saved.entries()) {
      const { urls } = JSON.parse(await demo.succeed("fork", [`cycle-${cycle}`, "fork", "--json"]));
      const there = new Set(await (await fetch(`${urls.backend}/api/v1/notes`)).json());
      assertEquals(committed.slice(0, count).filter((text) => !there.has(text)), []);
      const inFork = async (sql: string) =>
        (await demo.succeed("exec", ["--instance", "fork", "--", "psql", "-qAtc", sql, "stack"])).trim();
      assertEquals([await inFork(INDEXES), await inFork(HEAP)], ["t", "0"]);
      assertNotEquals(await demo.succeed("credentials", ["--env", "--instance", "fork"]), secrets);
      await demo.succeed("reset", ["--instance", "fork"]);
    }
  });
  await t.step("forks of one moment share no secret, no random number and no uuid of the database", async () => {
    const count = rounds(2, 16);
    const own: string[] = [secrets];
    for (let number = 0; number < count; number++) {
      await demo.succeed("fork", ["cycle-0", "fork"]);
      const inFork = (...command: string[]) => demo.succeed("exec", ["--instance", "fork", "--", ...command]);
      own.push(await inFork("psql", "-qAtc", "SELECT gen_random_uuid()", "stack"));
      own.push(await inFork("cat", "/proc/sys/kernel/random/uuid"));
      own.push(await demo.succeed("credentials", ["--env", "--instance", "fork"]));
      const before = Date.now();
      const guestMs = Number(await inFork("date", "+%s%3N"));
      assert(guestMs > before - 1000 && guestMs < Date.now() + 1000, `its clock is off: ${guestMs - before} ms`);
      await demo.succeed("reset", ["--instance", "fork"]);
    }
    assertEquals(new Set(own).size, 1 + 3 * count);
  });
  await t.step("after a shutdown and a boot they are still there, and the file system is clean", async () => {
    const stop = await demo.run("stop", ["--shutdown"]);
    assertCode(stop, 0);
    assertEquals(stop.stderr, "hotboot: shut down; the next start boots its disk\n"); // by itself
    const raw = `${demo.directory}/disk.raw`;
    const disk = `${demo.instance}/disk.qcow2`;
    await tool("qemu-img", "check", "-q", disk);
    await tool("qemu-img", "convert", "-O", "raw", disk, raw);
    await tool("/sbin/e2fsck", "-fn", raw);
    await Deno.remove(raw);
    const started = await demo.start();
    assertEquals(started.origin, "cold boot");
    assertNotEquals(await demo.succeed("credentials", ["--env"]), secrets);
    const there = new Set(await (await fetch(notes)).json());
    assertEquals(committed.filter((text) => !there.has(text)), []);
  });
});
