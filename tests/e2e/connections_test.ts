// needs: micro, demo

/** Connections between the host and the guest end with QEMU, at both ends. */

import { assert, assertEquals } from "@std/assert";
import type { Profile } from "../../lib/profile/profile.ts";
import { GuestHome } from "./guest_home.ts";
import { freePort } from "./shared.ts";
import { until } from "./pace.ts";

const CYCLES = 20;
const [LINE, GUEST_PORT] = [freePort(), 9000];
const addPort = ({ ports }: Profile) => void (ports.line = { guest: GUEST_PORT, host: LINE });

/** Each of its connections has a process that waits for its client, as a database does. */
const SERVER = `busybox nc -ll -p ${GUEST_PORT} -e cat >/dev/null 2>&1 &`;

/** A connection that the guest's server has accepted. */
async function openLine(port: number): Promise<Deno.TcpConn> {
  const line = await Deno.connect({ hostname: "127.0.0.1", port });
  await say(line);
  return line;
}

async function say(line: Deno.TcpConn): Promise<void> {
  const answer = new Uint8Array(1);
  await line.write(new TextEncoder().encode("x"));
  assertEquals([await line.read(answer), new TextDecoder().decode(answer)], [1, "x"]);
}

Deno.test("connections: after any number of suspensions none from the host is left in the guest, and its own are", async () => {
  await using micro = await GuestHome.started({ change: addPort });
  const shell = async (instance: string, script: string) =>
    await micro.succeed("exec", ["--instance", instance, "-n", "--", "sh", "-c", script]);
  const count = async (peer: string, instance = "micro") =>
    Number(await shell(instance, `netstat -tn | grep -c ':${GUEST_PORT}.*${peer}:.*ESTABLISHED' || true`));
  await shell("micro", SERVER);
  await until(
    async () => Number(await shell("micro", `netstat -tln | grep -c ':${GUEST_PORT}' || true`)) === 1,
    "its server",
  );
  await shell("micro", `sh -c 'sleep 100000 | nc 127.0.0.1 ${GUEST_PORT}' >/dev/null 2>&1 &`);
  await until(async () => await count("127.0.0.1") === 1, "its own connection");
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const lines = [await openLine(LINE), await openLine(LINE), await openLine(LINE)];
    await micro.succeed("stop");
    for (const line of lines) line.close();
    assertEquals((await micro.start("--no-fallback")).origin, "continue");
  }
  await until(async () => await count("10.0.2.2") === 0, "the dead ends");
  assertEquals(await count("127.0.0.1"), 1);

  // One that is started from a checkpoint has none, and the one that was saved keeps what is alive.
  using line = await openLine(LINE);
  await micro.succeed("fork", ["other"]);
  await until(async () => await count("10.0.2.2", "other") === 0, "the dead end");
  assertEquals(await count("127.0.0.1", "other"), 1);
  await say(line);
  assertEquals([await count("10.0.2.2"), await count("127.0.0.1")], [1, 1]);
});

Deno.test("connections: the demo's services lose their clients of before, and the database keeps its own", async () => {
  await using demo = await GuestHome.started({ guest: "demo" });
  const shell = (script: string) => demo.succeed("exec", ["-n", "--", "sh", "-c", script]);
  const sessions = () =>
    shell(
      'runuser -u postgres -- psql -qAtc "SELECT pid FROM pg_stat_activity WHERE client_port IS NOT NULL AND pid <> pg_backend_pid() ORDER BY 1" stack',
    );
  const fromHost = () => shell("ss -tnH state established src 10.0.2.15 dst 10.0.2.2");
  const own = await sessions();
  assert(own !== "", "nobody uses the database");
  for (let cycle = 0; cycle < 2; cycle++) {
    const clients: Deno.TcpConn[] = [];
    for (let more = 0; more < 3; more++) { // the backend waits for their requests
      clients.push(await Deno.connect({ hostname: "127.0.0.1", port: demo.ports.backend }));
    }
    await until(async () => (await fromHost()).trim().split("\n").length >= 3, "the connections");
    await demo.succeed("stop");
    for (const client of clients) client.close();
    await demo.start("--no-fallback");
    await until(async () => await fromHost() === "", "their ends");
  }
  assertEquals(await sessions(), own);
});
