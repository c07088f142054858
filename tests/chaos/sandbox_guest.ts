/** A guest that attacks: what root in it reaches by the network, and what it writes to its user's terminal. */

import { assert, assertEquals } from "@std/assert";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readUntil, textReader } from "../e2e/program.ts";
import { agentScript } from "../e2e/agent_script.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { shellWord } from "../../lib/base/shell.ts";
import { sleep } from "../../lib/base/wait.ts";
import { frame, frameSender, type Packet } from "./frames.ts";

/** Frames of one run. */
const FRAMES = 300;

type Pick = <T>(list: T[]) => T;

/** TCP and UDP services on one port of all of the host's addresses, and who has reached them. */
export class Services implements AsyncDisposable {
  /** `TCP`, `UDP`. */
  readonly reached = new Set<string>();
  readonly #open: { close(): unknown }[] = [];
  port = 0;

  static async open(): Promise<Services> {
    const services = new Services();
    const tcp = Deno.listen({ hostname: "::", port: 0 }); // for IPv4, too
    services.port = tcp.addr.port;
    services.#open.push(tcp);
    void services.#accept(tcp);
    for (const [hostname, type] of [["0.0.0.0", "udp4"], ["::", "udp6"]] as const) {
      const udp = createSocket({ type, ipv6Only: true }).bind(services.port, hostname);
      await once(udp, "listening");
      udp.on("message", () => services.reached.add("UDP"));
      services.#open.push(udp);
    }
    return services;
  }

  async #accept(tcp: Deno.TcpListener): Promise<void> {
    for await (const connection of tcp) {
      this.reached.add("TCP");
      connection.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.#open) each.close();
    return Promise.resolve();
  }
}

/** A process's sockets of the internet protocols, but for those that listen: protocol, own and other address. */
async function connectionsOf(pid: number): Promise<string[]> {
  const links = await Array.fromAsync(
    Deno.readDir(`/proc/${pid}/fd`),
    ({ name }) => Deno.readLink(`/proc/${pid}/fd/${name}`).catch(() => ""),
  );
  const own = new Set(links.map((link) => link.match(/^socket:\[(\d+)\]$/)?.[1]));
  const tables = ["tcp", "tcp6", "udp", "udp6", "icmp", "icmp6", "raw", "raw6", "packet"];
  const found = await Promise.all(tables.map(async (table) => {
    const lines = (await Deno.readTextFile(`/proc/net/${table}`).catch(() => "")).split("\n").slice(1);
    const rows = lines.map((line) => line.trim().split(/\s+/));
    return rows.filter((row) => own.has(row[9]) && !(table.startsWith("tcp") && row[3] === "0A"))
      .map((row) => `${table} ${row[1]} ${row[2]}`);
  }));
  return found.flat();
}

function hosts(v6: boolean): string[] {
  return Deno.networkInterfaces().map(({ address }) => address).filter((address) => address.includes(":") === v6);
}

/** Any packet. */
function packet(pick: Pick, ports: number[], restricted: boolean): Packet {
  const isV6 = pick([true, false, false]);
  const kind = pick<Packet["kind"]>(isV6 ? ["TCP", "UDP", "ICMP"] : ["TCP", "UDP", "ICMP", "ARP"]);
  const outside = isV6 ? ["2001:db8::1", "ff0e::1"] : ["192.0.2.1", "198.51.100.7", "224.0.0.251", "169.254.169.254"];
  const to = isV6
    ? ["fec0::2", "fec0::3", "fe80::2", "fe80::3", "::1", "::", "::ffff:127.0.0.1", "ff02::1", "ff02::2", "ff02::fb"]
    : ["10.0.2.2", "10.0.2.3", "10.0.2.4", "127.0.0.1", "127.0.0.2", "0.0.0.0", "255.255.255.255", "10.0.2.255"];
  const from = isV6
    ? ["fec0::15", "fe80::5054:ff:fe12:3456", "::1", "::", "fec0::2", "fec0::77"]
    : ["10.0.2.15", "10.0.2.15", "10.0.2.77", "10.0.2.2", "127.0.0.1", "0.0.0.0", "192.0.2.1"];
  return {
    kind,
    to: pick([...to, ...hosts(isV6), ...restricted ? outside : []]),
    from: pick(from),
    port: pick([...ports, ...ports, 53, 67, 69, 22, 80, 547]),
    by: Math.floor(pick([0, 0, 1, 2, 3])),
  };
}

/** Sends frames. */
async function send(guest: GuestHome, frames: Uint8Array[]): Promise<void> {
  const index = Number(await guest.exec("cat", "/sys/class/net/eth0/ifindex"));
  const program = frameSender(index);
  const put = async (path: string, bytes: Uint8Array) =>
    await guest.succeed("exec", ["-i", "--", "sh", "-c", `cat >${path}`], { stdin: bytes });
  await put("/tmp/sender", program);
  await put("/tmp/frames", new Uint8Array(await new Blob(frames as BlobPart[]).arrayBuffer()));
  await guest.exec("sh", "-c", "chmod +x /tmp/sender; /tmp/sender </tmp/frames");
}

/** Frames from the guest, from all addresses to all. Gives what a restricted one reaches: nothing. */
export async function attackByFrames(
  guest: GuestHome,
  services: Services,
  others: number[],
  restricted: boolean,
  next: () => number,
): Promise<string> {
  const pick: Pick = (list) => list[Math.floor(next() * list.length)];
  const own = (await guest.exec("cat", "/sys/class/net/eth0/address")).trim();
  const ports = [services.port, ...others];
  const packets = Array.from({ length: FRAMES }, () => packet(pick, ports, restricted));
  const sure: Packet[] = (["TCP", "UDP"] as const).map((kind) => ({
    kind,
    to: "10.0.2.2",
    from: "10.0.2.15",
    port: services.port,
  }));
  const [pid] = await guest.qemuProcesses();
  services.reached.clear();
  const before = new Set(await connectionsOf(pid));
  const canSend = guest.arch === "amd64";
  if (canSend) await send(guest, [...packets, ...sure].map((each) => frame(each, own)));
  const tried = guest.exec("sh", "-c", byItself([services.port, ...others]));
  const seen = new Set<string>();
  for (let over = false, looks = 0; !over || looks < 3; looks++) {
    for (const each of await connectionsOf(pid)) if (!before.has(each)) seen.add(each);
    await Promise.race([tried.then(() => over = true), sleep(100)]);
    if (over) await sleep(100);
  }
  await tried;
  assert((await guest.health()).uptime > 0);
  if (!restricted) {
    for (const one of canSend ? ["TCP", "UDP"] : ["TCP"]) {
      assert(services.reached.has(one), `an open network: ${one}`);
    }
    return "it reaches the host's services, as the page says";
  }
  assertEquals([...services.reached], [], "reached");
  // The connections of hotboot and the test to the guest's own port are of the listening port.
  const web = guest.port.toString(16).toUpperCase().padStart(4, "0");
  assertEquals([...seen].filter((each) => !each.includes(`0100007F:${web} `)), [], "connections of QEMU");
  return "it reaches nothing";
}

/** The usual programs, also with other addresses and routes. */
function byItself(ports: number[]): string {
  const to = ["10.0.2.2", "10.0.2.3", "127.0.0.2", "192.0.2.1", ...hosts(false).filter((each) => each !== "127.0.0.1")];
  const tries = to.flatMap((host) => ports.map((port) => `nc -w 1 ${host} ${port} </dev/null &`));
  return [
    "(ip route add 127.0.0.2/32 via 10.0.2.2; ip route add default via 10.0.2.2; ip addr add 10.0.2.99/24 dev eth0) 2>/dev/null",
    ...tries,
    "ping -c 1 -W 1 192.0.2.1 &",
    "timeout 1 nslookup example.com 10.0.2.3 &",
    "timeout 1 tftp -g -r /etc/passwd -l /tmp/got 10.0.2.2 &",
    "wait",
    "(ip route del default via 10.0.2.2; ip addr del 10.0.2.99/24 dev eth0) 2>/dev/null",
    "[ ! -s /tmp/got ]",
  ].join("\n").replaceAll(" &\n", " >/dev/null 2>&1 &\n");
}

/** The page of `hotboot ui`, for whoever has no token. */
export async function attackPage(guest: GuestHome, port: number): Promise<string> {
  const requests = [`10.0.2.2:${port}`, `127.0.0.1:${port}`, `localhost:${port}`].flatMap((host) =>
    ["/", "/api", "/?token=", `/?token=${"0".repeat(32)}`].map((path) =>
      `GET ${path} HTTP/1.1\\r\\nHost: ${host}\\r\\nConnection: close\\r\\n\\r\\n`
    )
  );
  const all = requests.map((request, at) =>
    `{ printf ${shellWord(request)}; sleep 3; } | nc -w 8 10.0.2.2 ${port} >/tmp/answer${at} &`
  );
  const show = requests.map((_, at) => `cat /tmp/answer${at}; echo; echo ====`);
  const answers = (await guest.exec("sh", "-c", [...all, "wait", ...show].join("\n"))).split("====\n").slice(0, -1);
  assertEquals(answers.length, requests.length);
  for (const answer of answers) {
    const [, code] = answer.match(/^HTTP\/1\.1 (\d+)/) ?? [];
    assert(["401", "403", "404"].includes(code), answer);
    assert(!/set-cookie/i.test(answer), answer);
  }
  return `it is answered with ${[...new Set(answers.map((answer) => answer.slice(9, 12)))].sort().join(", ")}`;
}

/** What terminals obey. */
const ESCAPES: Record<string, string> = {
  "a title": "\x1b]0;owned\x07",
  "the clipboard": "\x1b]52;c;b3duZWQ=\x07",
  "a link": "\x1b]8;;http://evil/\x1b\\",
  "its answer": "\x1b[6n\x1b[c",
  "C1": "\x9b31m\x9d0;owned\x9c",
  "the screen": "\x1b[2J\x1b[H\x1bc",
  "colours": "\x1b[31mred",
  "bidirectional text": "\u202eabc\u2066",
  "backspaces": "abc\b\b\bhotboot: all is well\r",
  "NUL, and what is no UTF-8": "\0\xff\xfe",
  "device control": "\x1bP$q q\x1b\\",
};
// deno-lint-ignore no-control-regex -- these are what is looked for
const OBEYED = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
/** hotboot's own: colours, and a line that is written again. */
// deno-lint-ignore no-control-regex -- these are what is looked for
const OWN = /\x1b\[[0-9;]*m|\x1b\[\d*[KGJA]|\x1b\[\?25[lh]/g;

export const PLACES = ["the console", "the agent's errors", "the service's answers"];

/** Prints what terminals obey, in a place that commands show, and looks at what comes to the terminal. */
export async function attackTerminal(guest: GuestHome, place: string, next: () => number): Promise<void> {
  const pick: Pick = (list) => list[Math.floor(next() * list.length)];
  const text = pick(Object.values(ESCAPES)) + "marker" + pick(Object.values(ESCAPES));
  const octal = [...new TextEncoder().encode(text)].map((byte) => `\\0${byte.toString(8).padStart(3, "0")}`).join("");
  const lines: [verb: string, ...args: string[]][] = [];
  if (place === "the console") {
    await guest.exec("sh", "-c", `printf '%b\\n' '${octal}' >/dev/console`);
    lines.push(["logs", "--lines", "20"], ["status"]);
  } else if (place === "the agent's errors") {
    const error = JSON.stringify({ error: { class: text, desc: text } }).replaceAll("'", "");
    const script =
      `while read -r l <&3; do case $l in *sync*) n=$(echo "$l" | sed 's/.*"id"[^0-9]*\\([0-9]*\\).*/\\1/'); ` +
      `printf '\\377{"return": %s}\\n' "$n" >&3;; *) echo ${shellWord(error)} >&3;; esac; done`;
    await guest.exec("sh", "-c", agentScript(script));
    await sleep(2500);
    lines.push(["exec", "-n", "--", "true"], ["stop"], ["doctor"]);
  } else {
    const answer = `Status: 500 ${octal}\\nContent-Type: ${octal}\\nLocation: ${octal}\\n\\n${octal}\\n`;
    const script = `#!/bin/sh\nprintf '%b' ${shellWord(answer)}\n`;
    await guest.exec("sh", "-c", `printf '%s' ${shellWord(script)} >/www/cgi-bin/health`);
    lines.push(["status"], ["wait", "--timeout", "2"], ["start"]);
  }
  for (const [verb, ...args] of lines) {
    const child = guest.spawnOnTerminal(verb, ...args);
    const { stdout } = await child.output();
    const shown = new TextDecoder("utf-8").decode(stdout);
    const found = shown.replaceAll(OWN, "").match(OBEYED);
    assert(!found, `'${verb}' shows ${JSON.stringify(found?.[0])}: ${JSON.stringify(shown)}`);
    if (place === "the console" && verb === "logs") assert(shown.includes("marker"), shown);
  }
}

/** hotboot's page, until it is disposed of. */
export async function page(guest: GuestHome): Promise<AsyncDisposable & { port: number }> {
  const child = guest.spawn("ui");
  const reader = textReader(child.stdout);
  const url = new URL((await readUntil(reader, "\n")).trim());
  return {
    port: Number(url.port),
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGINT");
      await Promise.all([child.status, child.stderr.cancel(), reader.cancel()]);
    },
  };
}
