/** A second user of the machine, while commands run: what of theirs that one reaches, and what that one puts in their way. */

import { assert, assertEquals } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { Home } from "../../lib/instance/home.ts";
import { sleep } from "../../lib/base/wait.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { asOther, below, reachable, spawnAsOther } from "../e2e/other_user.ts";
import { assertClear } from "./concurrency.ts";
import { startNext } from "./invariants.ts";
import { lastMessage } from "./subject.ts";

type Pick = <T>(list: T[]) => T;

/** What the commands do, one after another. */
const LINES: [verb: string, ...args: string[]][] = [
  ["stop"],
  ["start"],
  ["snapshot save", "new"],
  ["restart"],
  ["fork", "new"],
  ["exec", "-n", "--", "true"],
  ["stop", "--discard"],
  ["capture", "--force"],
  ["start", "--cold"],
  ["doctor", "--fix"],
  ["timeline"],
];

/** What is in /proc of a process, and says more than its command line. */
const OF_A_PROCESS = ["environ", "mem", "maps", "fd", "fdinfo", "cwd", "root", "io", "stack", "map_files"];

/** All ids of processes with this in their command lines. */
async function processesWith(text: string): Promise<number[]> {
  const found: number[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === Deno.pid) continue;
    if ((await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "")).includes(text)) found.push(Number(name));
  }
  return found;
}

/** Says to each process whether this user may signal it. */
const SIGNAL = `for (@ARGV) { print "$_\\n" if kill 0, $_ }`;

/** The secrets of all instances, as they are now. */
async function secretsOf(guest: GuestHome): Promise<string[]> {
  const found: string[] = [];
  for (const path of await below(guest.home).catch(() => [])) {
    if (!path.endsWith("/credentials.json")) continue;
    found.push(...(await Deno.readTextFile(path).catch(() => "")).match(/[0-9a-f]{64}/g) ?? []);
  }
  return found;
}

/** Tries, as the other user, everything that is there now. Gives what was reached. */
async function tryAll(guest: GuestHome): Promise<string[]> {
  const pids = await processesWith(guest.directory);
  const paths = [
    ...await below(guest.home).catch(() => []),
    ...pids.flatMap((pid) => OF_A_PROCESS.map((name) => `/proc/${pid}/${name}`)),
  ];
  for await (const { name } of Deno.readDir("/tmp")) {
    if (/^hotboot-[0-9a-f]{16}$/.test(name)) paths.push(`/tmp/${name}`, ...await below(`/tmp/${name}`).catch(() => []));
  }
  const isDenied = (found: string) => / (list|enter|read|write|connect): [^:]+$/.test(found);
  const found = (await reachable(paths)).filter((each) => !isDenied(each));
  // Of a process that has just ended, everybody may read nothing.
  const still = new Set((await processesWith(guest.directory)).map(String));
  const isOfEnded = (each: string) => {
    const [, pid] = each.match(/^\/proc\/(\d+)\//) ?? [];
    return pid !== undefined && !still.has(pid);
  };
  const { stdout } = await asOther(["perl", "-e", SIGNAL, ...pids.map(String)]);
  found.push(...stdout.split("\n").filter(Boolean).map((pid) => `process ${pid}: signal`));
  const secrets = await secretsOf(guest);
  for (const pid of pids) {
    const line = await Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "");
    if (secrets.some((secret) => line.includes(secret))) found.push(`a secret on a command line: ${line}`);
  }
  return found.filter((each) => !isOfEnded(each));
}

/** Commands run, in a home that everybody may list and with a umask that closes nothing, and the other user tries all. */
export async function tryUser(guest: GuestHome, next: () => number): Promise<string> {
  const pick: Pick = (list) => list[Math.floor(next() * list.length)];
  await Deno.chmod(guest.directory, 0o755);
  await Deno.chmod(guest.home, 0o755);
  await guest.start();
  const reached: string[] = [];
  let [over, looks] = [false, 0];
  const umask = Deno.umask(0);
  try {
    const looking = (async () => {
      while (!over || looks === 0) {
        reached.push(...await tryAll(guest));
        looks++;
      }
    })();
    try {
      for (let count = 0; count < 2; count++) {
        const [verb, ...args] = pick(LINES);
        assertClear(await guest.run(verb, args), verb);
      }
    } finally {
      over = true;
      await looking;
    }
  } finally {
    Deno.umask(umask);
    await guest.run("reset", ["--instance", "new"]);
    await guest.run("snapshot rm", ["new"]);
  }
  assertEquals([...new Set(reached)], []);
  return "nothing is reached";
}

/** How often the two race for the directory, before a command does. */
const RACES = 1500;

/** Makes what hotboot will make, again and again, as other things, and tries to connect to what is there. */
const PLANT = `
  use Socket; use Fcntl;
  my ($where, $target, $end) = @ARGV;
  my $made = 0;
  until (-e $end) {
    $made++ if symlink $target, $where; unlink $where;
    $made++ if mkdir $where, 0777; chmod 0777, $where; rmdir $where;
    $made++ if mkdir $where, 0700; rmdir $where;
    if (sysopen my $f, $where, O_CREAT | O_EXCL | O_WRONLY) { $made++; close $f; unlink $where }
    for my $name ("monitor", "agent", "migration") {
      socket(my $s, PF_UNIX, SOCK_STREAM, 0);
      print "connected to $name\\n" if connect $s, pack_sockaddr_un("$where/$name.sock");
    }
  }
  print "$made\\n";`;

/** The home's path is too long for sockets: they are in /tmp, at a place that the other user knows, too, and is faster. */
export async function tryPlanting(guest: GuestHome, next: () => number): Promise<string> {
  const pick: Pick = (list) => list[Math.floor(next() * list.length)];
  const where = await new Home(guest.home).sockets(guest.guest);
  assert(where.startsWith("/tmp/"), where);
  const [target, end] = [`${guest.directory}/target`, `${guest.directory}/end`];
  await Deno.mkdir(target, { recursive: true });
  await Deno.chmod(target, 0o777);
  await Deno.chmod(guest.directory, 0o755);
  await guest.run("reset");
  await Deno.remove(where, { recursive: true }).catch(() => {});
  const planter = spawnAsOther(["perl", "-e", PLANT, where, target, end]);
  const printed = new Response(planter.stdout).text();
  const seen: string[] = [];
  try {
    await sleep(100);
    for (let count = 0; count < RACES; count++) {
      await new Home(guest.home).shortDirectory(where).then(async () => {
        assertEquals((await Deno.lstat(where)).uid, Deno.uid(), `${where} is used`);
        await Deno.remove(where);
      }, (error) => {
        if (!(error instanceof HotbootError)) throw error;
      });
    }
    const lines: [string, ...string[]][] = [
      ["start"],
      pick([["stop"], ["status"], ["restart"], ["stop", "--discard"]]),
    ];
    for (const [verb, ...args] of lines) {
      const run = await guest.run(verb, args);
      assertClear(run, verb);
      seen.push(run.code === 0 ? "it works" : lastMessage(run.stderr) || "the exit code says so");
      const at = await Deno.lstat(where).catch(() => undefined);
      if ((await guest.qemuProcesses()).length === 0 || !at) continue;
      const { isDirectory, mode } = await Deno.stat(where);
      assertEquals([at.uid, isDirectory, mode! & 0o777], [Deno.uid(), true, 0o700], `${where}, with a QEMU in it`);
      if (at.isSymlink) assertEquals(await Deno.realPath(where), await Deno.realPath(guest.instance));
    }
  } finally {
    await Deno.writeTextFile(end, ""); // it may be sudo's, which its starter cannot signal
    await planter.status;
    await Deno.remove(end);
  }
  const lines = (await printed).trim().split("\n");
  assertEquals(lines.filter((line) => line.startsWith("connected")), []);
  assert(Number(lines.at(-1)) > 10, `the other user has made nothing: ${lines}`);
  assertEquals(await Array.fromAsync(Deno.readDir(target)), []);
  assertEquals((await Deno.stat(target)).mode! & 0o777, 0o777);
  await guest.run("reset");
  await startNext(guest);
  return seen[0];
}
