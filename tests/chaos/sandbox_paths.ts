/** Links in the home that lead out of it, and names with a path in them: hotboot itself changes nothing elsewhere. */

import { assert, assertEquals } from "@std/assert";
import { walk } from "@std/fs/walk";
import type { GuestHome } from "../e2e/guest_home.ts";
import { assertClear } from "./concurrency.ts";
import { startNext } from "./invariants.ts";
import type { Outside } from "./sandbox_rows.ts";
import { lastMessage } from "./subject.ts";

type Pick = <T>(list: T[]) => T;

/** Files that an instance gets in the course of its life. */
const LATER = ["memory.state", "disk.qcow2", "serial.log", "timeline.jsonl", "credentials.json", "config.iso"]
  .concat("instance.json", "monitor.sock", "agent.sock", "migration.sock", "ports.json")
  .concat("memory.ram", "secret_files.json", "owner.json");

const LINES: [verb: string, ...args: string[]][] = [
  ["start"],
  ["start", "--cold"],
  ["stop"],
  ["stop", "--shutdown"],
  ["restart"],
  ["status"],
  ["list", "--details"],
  ["logs"],
  ["credentials"],
  ["timeline"],
  ["exec", "-n", "--", "true"],
  ["snapshot save", "new"],
  ["snapshot verify"],
  ["snapshot prune"],
  ["snapshot ls"],
  ["fork", "new"],
  ["capture"],
  ["doctor", "--fix"],
  ["reset"],
];

/** What a seed means. */
export function chooseLink(next: () => number): { state: string; to: string; line: [string, ...string[]] } {
  const pick: Pick = (list) => list[Math.floor(next() * list.length)];
  return {
    state: pick(["running", "suspended", "stopped"]),
    to: pick(["a file", "nothing", "a directory"]),
    line: pick(LINES),
  };
}

/** One of the home's files is a link to something else of the user's while a command runs. */
export async function tryLink(outside: Outside, next: () => number): Promise<string> {
  const { state, to, line: [verb, ...args] } = chooseLink(next);
  const { guest, root } = outside;
  await guest.start();
  if (state !== "running") await guest.succeed("stop", state === "stopped" ? ["--discard"] : []);
  outside.make();
  const aside = `${guest.directory}/aside`;
  const link = await placeFor(guest, next);
  const wasThere = await Deno.rename(link, aside).then(() => true, () => false);
  const target = { "a file": "user/.bashrc", "nothing": "user/new", "a directory": "user/.ssh" }[to]!;
  await Deno.mkdir(link.replace(/[^/]*$/, ""), { recursive: true });
  await Deno.symlink(`${root}/${target}`, link);
  const before = outside.state();
  try {
    const run = await guest.run(verb, args);
    const name = link.slice(guest.home.length + 1);
    assertEquals(outside.state(), before, `'${verb}' of a ${state} instance, with ${name} as a link to ${to}`);
    assertClear(run, verb);
    return run.code === 0 ? "it works" : lastMessage(run.stderr) || "the exit code says that it is not well";
  } finally {
    if ((await Deno.lstat(link).catch(() => undefined))?.isSymlink) await Deno.remove(link);
    if (wasThere && !await Deno.lstat(link).then(() => true, () => false)) {
      await Deno.rename(aside, link).catch(() => {});
    }
    await Deno.remove(aside, { recursive: true }).catch(() => {});
    for (const instance of ["new", guest.guest]) await guest.run("reset", ["--instance", instance]);
    await guest.run("snapshot rm", ["new"]);
    await guest.run("doctor", ["--fix"]);
    await startNext(guest);
  }
}

/** A file of the home: any that is there, or that an instance gets. An image's may be links. */
async function placeFor(guest: GuestHome, next: () => number): Promise<string> {
  const files = (await Array.fromAsync(walk(guest.home), ({ path, isFile }) => isFile ? path : ""))
    .filter((path) => path !== "" && !path.startsWith(`${guest.home}/images/`))
    .concat(LATER.map((name) => `${guest.instance}/${name}`), guest.instance);
  const all = [...new Set(files)].sort();
  return all[Math.floor(next() * all.length)];
}

/** Names that lead elsewhere. */
const NAMES = ["..", "../x", "../../outside/user/new", "a/../../../outside/user", "/etc/hotboot-chaos", "a/b", "a\nb"]
  .concat("../outside", "instances/../../outside", "../instances/micro", "x".repeat(300), ".layer-x");

/** Command lines with a name in each place for one. */
const NAMED: ((name: string) => [verb: string, ...args: string[]])[] = [
  ...["start", "stop", "status", "reset", "logs", "credentials", "timeline", "capture", "restart"]
    .map((verb) => (name: string): [string, ...string[]] => [verb, "--instance", name]),
  (name) => ["exec", "--instance", name, "--", "true"],
  (name) => ["snapshot save", name],
  (name) => ["snapshot rm", name],
  (name) => ["snapshot rename", name, "new"],
  (name) => ["snapshot rename", "saved", name],
  (name) => ["fork", name],
  (name) => ["fork", name, "new"],
  (name) => ["fork", "micro", name],
];

/** A profile with a name in each place for one. */
// deno-lint-ignore no-explicit-any -- any place
const PROFILES: ((profile: any, name: string) => void)[] = [
  (profile, name) => profile.name = name,
  (profile, name) => profile.home = { instance: name },
  (profile, name) => profile.ports = { [name]: profile.ports.web },
  (profile, name) => profile.secrets[0].name = name,
  (profile, name) => profile.share = { tag: name.replace(/^\./, "/"), path: "/", mount: ["true"] }, // it may begin with a dot
];

/** A command with such a name. */
export async function tryName(outside: Outside, next: () => number): Promise<string> {
  const pick: Pick = (list) => list[Math.floor(next() * list.length)];
  const { guest } = outside;
  const name = pick(NAMES);
  outside.make();
  const names = (directory: string) => Array.fromAsync(Deno.readDir(directory), ({ name }) => name);
  const rest = async () => [...await names(guest.directory), ...await names(guest.home)].sort().join();
  const before = [outside.state(), await rest()];
  let line: [string, ...string[]];
  const own = await Deno.readTextFile(guest.profile);
  if (next() < 0.7) line = pick(NAMED)(name);
  else {
    const profile = JSON.parse(own);
    pick(PROFILES)(profile, name);
    await Deno.writeTextFile(guest.profile, JSON.stringify(profile));
    line = pick<[string, ...string[]]>([["start"], ["status"], ["reset"], ["capture"]]);
  }
  try {
    const [verb, ...args] = line;
    const { code, stderr } = await guest.run(verb, args);
    assert(code === 1 || code === 2, `${JSON.stringify([line, name])} is taken: exit code ${code}`);
    assert(/^hotboot: \S/m.test(stderr) || verb === "status", `no message: ${stderr}`);
    assertEquals([outside.state(), await rest()], before, JSON.stringify([line, name]));
    return "refused";
  } finally {
    await Deno.writeTextFile(guest.profile, own);
  }
}
