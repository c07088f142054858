/** Homes on all kinds of file systems, and homes that are moved and copied. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { onPath } from "../../lib/base/on_path.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { assertCode } from "../e2e/program.ts";
import { CACHE } from "../e2e/qemu.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { FILE_SYSTEMS, type FileSystem } from "./file_systems.ts";
import { MOVES } from "./homes.ts";
import { REMOTE } from "./remote.ts";
import { agreedStates, assertAllKnown, assertSnapshots, repaired } from "./invariants.ts";
import { lastMessage, type Order, plain, Skipped, type Subject } from "./subject.ts";
import { lackOfSmallDisks } from "../e2e/needs.ts";
import type { Diagnosis } from "../../lib/doctor/doctor.ts";

const MARK = (mark: string) => `echo ${mark} >/run/mark; echo ${mark} >/data/mark; sync`;
const READ = ["cat", "/run/mark", "/data/mark"];

/** Everything once; each with what was in memory and on the disk. */
async function wholeRound(guest: GuestHome, mark: string): Promise<string> {
  const both = `${mark}\n${mark}\n`;
  await guest.start("--no-fallback");
  await guest.exec("sh", "-c", MARK(mark));
  await guest.succeed("stop");
  assertEquals((await guest.start()).origin, "continue");
  assertEquals(await guest.exec(...READ), both);
  await guest.succeed("snapshot save", ["saved"]);
  await guest.succeed("snapshot verify", ["saved"]);
  const archive = `${guest.directory}/saved.hotboot`;
  await guest.succeed("snapshot export", ["saved", archive]);
  await guest.succeed("fork", ["new"]);
  assertEquals(await guest.succeed("exec", ["--instance", "new", "--", ...READ]), both);
  await guest.succeed("reset", ["--instance", "new"]);
  await guest.succeed("snapshot rm", ["saved"]);
  await guest.succeed("snapshot import", [archive]);
  await assertSnapshots(guest, "saved");
  await guest.start("--instance", "copy", "--from", "saved");
  assertEquals(await guest.succeed("exec", ["--instance", "copy", "--", ...READ]), both);
  await assertAllKnown(guest);
  await agreedStates(guest);
  await guest.succeed("reset", ["--instance", "copy"]);
  await guest.succeed("reset");
  assertEquals((await guest.start("--no-fallback")).origin, "resume");
  const left = (await repaired(guest)).filter(({ mark, fixed }) => !fixed && mark === "fail");
  assertEquals(left, []);
  return "it works";
}

/** Each command says why not and what to type, in one line, and nothing is left of it. */
async function refused(guest: GuestHome, refusal: RegExp): Promise<string> {
  const run = await guest.run("start");
  assertCode(run, 1);
  const lines = run.stderr.trimEnd().split("\n").filter((line) => !/ emulated, without |: cold boot /.test(line));
  assertEquals(lines.length, 1, run.stderr);
  assertMatch(lines[0], refusal);
  assertMatch(lines[0], /: name a directory on .*--home/);
  assertEquals(await guest.qemusLeft(), []);
  const { state } = await guest.status();
  assertEquals(state, "stopped");
  return lastMessage(run.stderr);
}

/** `doctor` knows before the start does, if it can. */
async function diagnosed(guest: GuestHome): Promise<string> {
  const { findings }: Diagnosis = JSON.parse((await guest.run("doctor", ["--json"])).stdout);
  const found = findings.find(({ id, mark }) => id.startsWith("home") && mark === "fail");
  return found ? plain(`; doctor: ${found.reason}`) : "";
}

/** Puts the image itself in the place of the links to it: sshfs lets none lead elsewhere. */
async function copyImage({ home }: GuestHome): Promise<void> {
  for await (const { name, isSymlink } of Deno.readDir(`${home}/images`)) {
    if (!isSymlink) continue;
    await Deno.remove(`${home}/images/${name}`);
    await Deno.copyFile(`${CACHE}/images/${name}`, `${home}/images/${name}`);
  }
}

async function onFileSystem({ mount, refusal }: FileSystem, mark: string): Promise<string> {
  // Short, so that the sockets are in the instances' own directories.
  const directory = await Deno.makeTempDir({ prefix: "hb-" });
  const path = `${directory}/m`;
  await Deno.mkdir(path);
  try {
    await using _mounted = await mount(directory, path);
    await using guest = await secretMicro(ROTATE, undefined, { parent: path, captured: refusal === undefined });
    if (refusal === undefined) return await wholeRound(guest, mark);
    await copyImage(guest);
    return await refused(guest, refusal) + await diagnosed(guest);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

export const subject: Subject = {
  survived:
    "All commands work there, or the first one says in one line why not and what to do, and nothing is left of it. A home that was moved has its guests; of a home and its copy, each has its own, and its own session. A command ends when the server of a directory does.",
  about:
    "the home is on a file system that lacks something, or is moved or copied; another machine's directory goes away",
  full: { runs: 51, seconds: 700 },
  ci: { runs: 3, seconds: 35 },
  async run({ seed: first, runs, tally }: Order) {
    const lack = await lackOfSmallDisks();
    if (lack) throw new Skipped(lack);
    const [moves, remote] = [MOVES, REMOTE].map((each) => Object.entries(each));
    for (let seed = first; seed < first + runs; seed++) {
      const mark = `seed-${seed}`;
      const at = Math.floor(seed / 3);
      if (seed % 3 === 0) {
        const [what, work] = moves[at % moves.length];
        await tally.run(what, seed, () => work(mark));
        continue;
      }
      if (seed % 3 === 1) {
        const [what, work] = remote[at % remote.length];
        assert(await onPath("sshfs"), "sshfs is not installed");
        await tally.run(what, seed, () => work(seed));
        continue;
      }
      const kind = FILE_SYSTEMS[at % FILE_SYSTEMS.length];
      assert(await onPath(kind.needs), `${kind.needs} is not installed`);
      await tally.run(`the home is on ${kind.name}`, seed, () => onFileSystem(kind, mark));
    }
  },
};
