// needs: demo

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { GuestHome } from "./harness.ts";
import { until } from "./pace.ts";

Deno.test("demo: a database, a backend, a dashboard and a cron worker come back warm", async (t) => {
  await using demo = await GuestHome.make({ guest: "demo" });
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

  const first = await demo.start();
  assertEquals(first.origin, "resume");

  await t.step("the database answers through the backend, with the time of now", async () => {
    assertEquals(await get(`${backend}/health?db=1`), { status: 200, text: '{"status": "ok"}' });
    const before = Date.now();
    const guest = Number(await query("SELECT extract(epoch FROM clock_timestamp()) * 1000"));
    assert(guest > before - 1000 && guest < Date.now() + 1000, `${guest} is not about ${before}`);
  });

  await t.step("the dashboard is a page with a built script, whose key the backend accepts", async () => {
    const page = await get(`${dashboard}/handler/sign-in`);
    assertEquals(page.status, 200);
    const script = page.text.match(/src="(\/assets\/app-[0-9a-f]{8}\.js)"/)?.[1];
    assert(script !== undefined, page.text);
    const key = (await get(`${dashboard}${script}`)).text.match(/"([0-9a-f]{64})"/)?.[1];
    const project = `${dashboard}/api/v1/projects/current`;
    assertEquals((await get(project, { "x-stack-publishable-client-key": key! })).status, 200);
    assertEquals((await get(project, { "x-stack-publishable-client-key": key!.replace(/.$/, "0") })).status, 401);
    assertEquals((await get(project)).status, 401);
  });

  await t.step("the guest has read from its config disk where it is on the host", async () => {
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

  await t.step("what a session writes is gone after the next start, and PostgreSQL is none the worse", async () => {
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

  await t.step("a generation id of its own, by which the kernel knows that it was resumed", async () => {
    const seen = async () => await demo.exec("sh", "-c", "dmesg | grep -c 'crng reseeded due to virtual machine fork'");
    const before = await seen();
    await demo.succeed("stop", ["--discard"]);
    await demo.start("--no-fallback");
    assertEquals(await seen(), before); // once a resume, not once ever
    assertNotEquals(before, "0\n");
  });
});
