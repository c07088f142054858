/** hotboot's directory: whose it is, whether it can be written, and what its file system can do. */

import { runBash } from "../base/bash.ts";
import { HostError, HotbootError, messageOf } from "../base/error.ts";
import type { Emulator } from "../instance/emulator.ts";
import { type Home, privateDirectory } from "../instance/home.ts";
import { requireLocks } from "../instance/locks.ts";
import { sharedFault, sharedMount, sharedPlace } from "../instance/network_home.ts";
import type { Finding } from "./finding.ts";

/** A file that is written to see what becomes of it. */
const TRIAL_BYTES = 1024 * 1024;

/** What is known of a home. */
export interface HomeFacts {
  /** Its path. */
  root: string;
  /** The user that owns it, and the user that this program is. */
  owner: number | null;
  user: number | null;
  /** Its places that others can enter. */
  open: string[];
  /** What other machines can reach, and the name of its file system. */
  shared?: { path: string; kind: string };
  /** Whether its file system stores no zeros that were never written. */
  keepsHoles: boolean;
}

/** Looks at it, and writes a small file in its cache. @throws {HotbootError} if it cannot be used. */
export async function examineHome({ home }: Emulator): Promise<{ findings: Finding[]; isUsable: boolean }> {
  try {
    await privateDirectory(home.cache);
    return {
      findings: judgeHome({
        ...await factsOf(home),
        ...await tryFile(home),
        shared: await sharedPlace(home) ?? await sharedByProgram(home),
      }),
      isUsable: true,
    };
  } catch (error) {
    if (error instanceof HotbootError || error instanceof Deno.errors.NotCapable) throw error;
    throw new HostError(`${home.root} cannot be used (${messageOf(error)})`, "free some space, or use another --home");
  }
}

/** Prints the device and the type of each mount. Source: proc_pid_mountinfo(5). */
const MOUNTS = `while read -r _ _ device rest; do echo "$device \${rest##* - }"; done </proc/self/mountinfo`;

/** The first of the home's places that a program shares with other machines, such as sshfs. */
async function sharedByProgram({ places }: Home): Promise<{ path: string; kind: string } | undefined> {
  const { lines } = await runBash(MOUNTS) ?? { lines: [] };
  for (const path of places) {
    const { dev } = await Deno.stat(path).catch(() => ({ dev: undefined }));
    const kind = dev === undefined ? undefined : sharedMount(dev, lines);
    if (kind !== undefined) return { path, kind };
  }
}

async function factsOf(home: Home): Promise<Pick<HomeFacts, "root" | "owner" | "open">> {
  const { root, instances } = home;
  const { uid, mode } = await Deno.stat(root);
  const isOpen = (mode: number | null = 0) => ((mode ?? 0) & 0o077) !== 0;
  const open: string[] = [];
  for (const path of [instances, `${root}/snapshots`, `${root}/checkpoints`, `${root}/spares`]) {
    if (path.startsWith(`${root}/`) && !isOpen(mode)) continue;
    const found = await Deno.stat(path).catch(() => undefined);
    if (isOpen(found?.mode)) open.push(path);
  }
  return { root, owner: uid, open };
}

/** What the file system does with a file that is all hole but for its end, and with its lock. @throws {HostError} if there are no locks. */
async function tryFile({ cache }: Home): Promise<Pick<HomeFacts, "user" | "keepsHoles">> {
  const path = `${cache}/doctor.${crypto.randomUUID()}`; // a leftover is pruned
  try {
    using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
    await file.truncate(TRIAL_BYTES);
    await file.seek(-1, Deno.SeekMode.End);
    await file.write(new Uint8Array(1));
    await file.sync();
    const { blocks, uid } = await file.stat();
    await requireLocks(path);
    return { user: uid, keepsHoles: (blocks ?? 0) * 512 < TRIAL_BYTES };
  } finally {
    await Deno.remove(path).catch(() => {});
  }
}

/** What they say. */
export function judgeHome({ root, owner, user, open, keepsHoles, shared }: HomeFacts): Finding[] {
  const here = { id: "home", title: "home" };
  const findings: Finding[] = [];
  if (owner !== user) {
    const reason =
      `${root}, belongs to user ${owner}, and you are user ${user}: what you start there, that user cannot stop`;
    findings.push({ ...here, mark: "warn", reason, fix: "use hotboot as that user, or another --home" });
  } else if (!shared) findings.push({ ...here, mark: "ok", reason: root });
  if (shared) {
    const { what: reason, todo: fix } = sharedFault(shared);
    findings.push({ id: "home.shared", mark: "fail", title: "home", reason, fix });
  }
  for (const path of open) {
    const id = `home.open.${path.slice(path.lastIndexOf("/") + 1)}`;
    findings.push({
      id,
      mark: "warn",
      title: "home",
      reason: `other users may enter ${path}`,
      fix: `run 'chmod 700 ${path}'`,
    });
  }
  if (!keepsHoles) {
    const reason =
      "its file system stores memory that was never used: a snapshot is as large as all of the guest's memory";
    findings.push({
      id: "home.holes",
      mark: "warn",
      title: "home",
      reason,
      fix: "use a --home on another file system",
    });
  }
  if (user === 0) {
    const reason = "you are root, and so is QEMU: a guest that breaks out of it has this host";
    findings.push({ id: "user", mark: "warn", title: "user", reason, fix: "use another user if you can" });
  }
  return findings;
}
