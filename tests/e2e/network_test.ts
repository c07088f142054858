// needs: micro

import { assert, assertEquals, assertMatch } from "@std/assert";
import { createSocket, type Socket } from "node:dgram"; // Deno's own is unstable
import { once } from "node:events";
import type { Profile } from "../../lib/profile/profile.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { testUnless } from "./needs.ts";

type Network = Profile["machine"]["network"];

/** The host's loopback addresses, and their addresses in QEMU's user network. */
const ADDRESSES = [{ host: "127.0.0.1", guest: "10.0.2.2" }, { host: "::1", guest: "fec0::2" }];

/** TCP and UDP services on the host's loopback, and which of them were reached. */
class HostServices implements AsyncDisposable {
  readonly reached = new Set<string>();
  readonly services: { name: string; guest: string; tcp: Deno.TcpListener; udp: Socket }[] = [];

  static async open(): Promise<HostServices> {
    const opened = new HostServices();
    for (const { host, guest } of ADDRESSES) {
      let tcp: Deno.TcpListener;
      try {
        tcp = Deno.listen({ hostname: host, port: 0 });
      } catch {
        console.log(`skipped: services on ${host}, because this host has no such address`);
        continue;
      }
      const udp = createSocket(host.includes(":") ? "udp6" : "udp4").bind(tcp.addr.port, host);
      await once(udp, "listening");
      udp.on("message", () => opened.reached.add(`UDP ${host}`));
      opened.services.push({ name: host, guest, tcp, udp });
      opened.#accept(host, tcp);
    }
    return opened;
  }

  async #accept(host: string, tcp: Deno.TcpListener): Promise<void> {
    for await (const connection of tcp) {
      this.reached.add(`TCP ${host}`);
      connection.close();
    }
  }

  get all(): string[] {
    return this.services.flatMap(({ name }) => [`TCP ${name}`, `UDP ${name}`]).sort();
  }

  /**
   * The services that a program in the guest reaches. The UDP requests come first, so that QEMU has handled them when it
   * has answered the TCP ones. The host's own come last, so that all earlier ones have been seen.
   */
  async reachedFrom(micro: GuestHome): Promise<string[]> {
    this.reached.clear();
    for (const { guest, tcp: { addr: { port } } } of this.services) {
      // Waits for the guest's IPv6 address, which its kernel derives from QEMU's announcements.
      const isReady = guest.includes(":") ? "ip -6 address show dev eth0 | grep fec0 | grep -qv tentative" : "true";
      const request = `timeout 1 tftp -g -r x -l /tmp/x ${guest} ${port}; nc -w 5 ${guest} ${port} </dev/null; true`;
      await micro.exec("sh", "-c", `until ${isReady}; do sleep 0.1; done; ${request}`);
    }
    const reached = [...this.reached].sort();
    this.reached.clear();
    for (const { name, tcp: { addr: { port } }, udp } of this.services) {
      const seen = once(udp, "message");
      createSocket(name.includes(":") ? "udp6" : "udp4").send("x", port, name, function (this: Socket) {
        this.close();
      });
      await seen;
      const connection = await Deno.connect({ hostname: name, port });
      await connection.read(new Uint8Array(1)); // the server closes it after counting it
      connection.close();
    }
    assertEquals([...this.reached].sort(), this.all);
    return reached;
  }

  [Symbol.asyncDispose](): Promise<void> {
    for (const { tcp, udp } of this.services) {
      tcp.close();
      udp.close();
    }
    return Promise.resolve();
  }
}

const guestWith = (network: Network) =>
  GuestHome.make({ captured: true, change: ({ machine }) => machine.network = network });

for (const network of [undefined, "restricted"] as const) {
  Deno.test(`a guest in ${network ? "a restricted" : "an open"} network reaches what it may, and is reachable`, async (t) => {
    await using micro = await guestWith(network);
    await using host = await HostServices.open();
    const look = async (origin: string, ...args: string[]) =>
      await t.step(origin, async () => {
        assertEquals((await micro.start(...args)).origin, origin);
        assert((await micro.health()).uptime > 0);
        assertEquals(await host.reachedFrom(micro), network === "restricted" ? [] : host.all);
      });
    await look("resume");
    await micro.succeed("stop");
    await look("continue", "--no-fallback");
    await micro.succeed("stop", ["--discard"]);
    await look("cold boot", "--cold");

    await t.step("a snapshot with the other network is not resumed", async () => {
      await micro.succeed("stop", ["--discard"]);
      const profile: Profile = JSON.parse(await Deno.readTextFile(micro.profile));
      profile.machine.network = network ? "open" : "restricted";
      await Deno.writeTextFile(micro.profile, JSON.stringify(profile));
      const run = await micro.run("start", ["--quiet", "--no-fallback"]);
      assertCode(run, 1);
      assertMatch(run.stderr, /the network was (open and is restricted|restricted and is open)/);
    });
  });
}

testUnless(
  Deno.build.os === "linux" ? undefined : "it needs Linux's /proc",
  "QEMU listens only on the loopback address, has only our channels, and runs under seccomp",
  async () => {
    await using micro = await GuestHome.make();
    await micro.start("--cold");
    const [pid] = await micro.qemuProcesses();
    assertMatch(await Deno.readTextFile(`/proc/${pid}/status`), /^Seccomp:\t2$/m);
    assertMatch(await Deno.readTextFile(`/proc/${pid}/status`), /^NoNewPrivs:\t1$/m);
    {
      await using qmp = await QmpClient.connect(micro.socket("monitor"));
      const channels = await qmp.execute<{ label: string }[]>("query-chardev");
      assertEquals(channels.map(({ label }) => label).sort(), ["agent", "launcher", "monitor", "serial"]);
    }
    const hex = micro.port.toString(16).toUpperCase().padStart(4, "0");
    assertEquals(await listeners(pid), [`0100007F:${hex}`]);
  },
);

/** The TCP addresses that a process listens on, as Linux writes them (proc(5), /proc/net/tcp). */
async function listeners(pid: number): Promise<string[]> {
  const links = await Array.fromAsync(
    Deno.readDir(`/proc/${pid}/fd`),
    ({ name }) => Deno.readLink(`/proc/${pid}/fd/${name}`).catch(() => ""),
  );
  const inodes = new Set(links.map((link) => link.match(/^socket:\[(\d+)\]$/)?.[1]));
  const tables = await Promise.all(
    ["tcp", "tcp6"].map((name) => Deno.readTextFile(`/proc/net/${name}`).catch(() => "")),
  );
  const rows = tables.flatMap((table) => table.split("\n").map((line) => line.trim().split(/\s+/)));
  return rows.filter((row) => row[3] === "0A" && inodes.has(row[9])).map((row) => row[1]);
}
