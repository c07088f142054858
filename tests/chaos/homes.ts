/** Homes that are moved or copied, while a guest runs or has been suspended. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import type { GuestHome } from "../e2e/guest_home.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { agreedStates } from "./invariants.ts";
import { lastMessage } from "./subject.ts";
import { tool } from "../e2e/tool.ts";

const MARK = (mark: string) => `echo ${mark} >/run/mark; echo ${mark} >/data/mark; sync`;
const READ = ["cat", "/run/mark", "/data/mark"];
/** A home's name with which no socket's path is short enough. */
const LONG = "long".repeat(25);

type From = "running" | "suspended";

/** A home of its own, with an instance that has the mark in its memory and on its disk. */
async function makeHome(from: From, mark: string, name?: string): Promise<GuestHome> {
  const guest = await secretMicro(ROTATE, undefined, { captured: true, name });
  await guest.start();
  await guest.exec("sh", "-c", MARK(mark));
  if (from === "suspended") await guest.succeed("stop");
  return guest;
}

/** The guest is the same as before, here: it still runs or continues, stops, and continues again. */
async function assertSame(guest: GuestHome, from: From, mark: string): Promise<void> {
  assertEquals((await guest.status()).state, from);
  await agreedStates(guest);
  const { origin } = await guest.start();
  assertEquals(origin, from === "running" ? undefined : "continue");
  for (let times = 0; times < 2; times++) {
    assertEquals(await guest.exec(...READ), `${mark}\n${mark}\n`);
    await guest.succeed("stop");
    assertEquals((await guest.start()).origin, "continue");
  }
  await guest.succeed("reset");
  assertEquals(await guest.qemusLeft(), []);
}

async function moved(from: From, names: [string, string], mark: string): Promise<string> {
  await using guest = await makeHome(from, mark, names[0]);
  const there = guest.inHome(names[1]);
  await Deno.rename(guest.home, there.home);
  if (from === "suspended") {
    await assertSame(there, from, mark);
    return "the next start: continue";
  }
  assertEquals(await there.exec(...READ), `${mark}\n${mark}\n`);
  const { code, stderr } = await there.run("stop"); // QEMU knows its disks by the old path
  assertEquals(code, 1, stderr);
  const what = lastMessage(stderr);
  assertMatch(what, /the guest still runs: .*: move the home back, or put a link to it in its old place/);
  await Deno.symlink(there.home, guest.home);
  await assertSame(there, from, mark);
  await Deno.remove(guest.home);
  return `it runs on; stop: ${what}`;
}

/** Of the home and its copy, each has its own machine, and neither ends or changes the other's. */
async function copied(from: From, copy: string[], mark: string): Promise<string> {
  await using guest = await makeHome(from, mark);
  const twin = guest.inHome("copy");
  await tool(copy[0], ...copy.slice(1), guest.home, twin.home);
  const before = from === "running" ? await guest.qemuProcesses() : await guest.qemusLeft();
  const { state } = await twin.status();
  assertEquals(state, from === "running" ? "crashed" : "suspended", "the copy of one that runs has no machine");
  await agreedStates(twin);
  const run = await twin.run("start", ["--json"]);
  let seen: string;
  if (run.code === 0) {
    seen = `the copy: ${JSON.parse(run.stdout).origin}`;
    assertNotEquals(await guest.qemuProcesses(), before);
    assertEquals(await twin.exec("cat", "/data/mark"), `${mark}\n`, "on the copy's disk");
    await twin.exec("sh", "-c", MARK("twin"));
  } else {
    assert(run.code === 1 && /\nhotboot: [^\n]+$|^hotboot: [^\n]+$/.test(run.stderr.trimEnd()), run.stderr);
    seen = `the copy: ${lastMessage(run.stderr)}`;
  }
  await twin.succeed("reset");
  assertEquals(await guest.qemusLeft(before), [], "the copy's machine has ended");
  assertEquals(await guest.qemuProcesses(), before, "and only that");
  await assertSame(guest, from, mark);
  return seen;
}

/** Each returns what a user sees. */
export const MOVES: Record<string, (mark: string) => Promise<string>> = {
  "the home of a running guest is moved to a long path": (mark) => moved("running", ["home", LONG], mark),
  "the home of a running guest is copied (cp -a)": (mark) => copied("running", ["cp", "-a"], mark),
  "the home of a suspended guest is copied (cp -rp)": (mark) =>
    copied("suspended", ["cp", "-rp", "--sparse=auto"], mark),
  "the home of a running guest is moved from a long path": (mark) => moved("running", [LONG, "home"], mark),
  "the home of a suspended guest is copied without holes": (mark) =>
    copied("suspended", ["cp", "-a", "--sparse=never"], mark),
  "the home of a suspended guest is moved to a long path": (mark) => moved("suspended", ["home", LONG], mark),
  "the home of a running guest is moved from one long path to another": (mark) =>
    moved("running", [LONG, `${LONG}-too`], mark),
};
