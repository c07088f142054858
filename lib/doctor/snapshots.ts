/** The snapshots and checkpoints of the emulator: which one a start resumes, and why not the others. */

import { formatBytes } from "../base/format.ts";
import { listSnapshots, type SnapshotInfo } from "../emulator/snapshots.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { Finding } from "./finding.ts";

/** Judges them as a start does. */
export async function examineSnapshots(emulator: Emulator): Promise<{ findings: Finding[]; isUsable: boolean }> {
  const all = await listSnapshots(emulator);
  return { findings: judgeSnapshots(all), isUsable: all.some(isResumable) };
}

function isResumable({ kind, state }: SnapshotInfo): boolean {
  return kind === "snapshot" && state === "usable";
}

/** @param all Newest first. */
export function judgeSnapshots(all: SnapshotInfo[]): Finding[] {
  if (!all.some(({ kind }) => kind === "snapshot")) {
    const reason = "none: the first start boots the guest, and captures one";
    return [{ id: "snapshot", mark: "info", title: "snapshot", reason }, ...all.map((each) => judge(each))];
  }
  const first = all.find(isResumable);
  return all.map((each) => judge(each, first));
}

/** @param first The one that a start resumes. */
function judge(info: SnapshotInfo, first?: SnapshotInfo): Finding {
  const { id, kind, name, state, why, bytes } = info;
  const here = { id: `${kind}.${id}`, title: kind };
  const says = (what: string) => `${name ?? id} ${what} (${formatBytes(bytes)})`;
  if (state === "damaged") {
    return { ...here, mark: "warn", reason: says(`is damaged: ${why}`), fix: `'hotboot snapshot rm ${id}' removes it` };
  }
  if (state === "unknown") return { ...here, mark: "info", reason: says(`cannot be judged: ${why}`) };
  const misfit = says(`does not fit here: ${why}`);
  if (kind === "checkpoint") {
    // Without a name, it was made for a fork, which uses only its disk from now on.
    if (state !== "usable" && name === undefined) return { ...here, mark: "info", reason: misfit };
    return state === "usable"
      ? { ...here, mark: "ok", reason: says("fits") }
      : { ...here, mark: "warn", reason: misfit };
  }
  if (info === first) return { ...here, mark: "ok", reason: says("fits: the next fresh start resumes it") };
  const prune = "'hotboot snapshot prune' removes it";
  if (state === "usable") return { ...here, mark: "info", reason: says(`is older than ${first!.id}`), fix: prune };
  const isReplaced = first !== undefined && first.id > id;
  return isReplaced
    ? { ...here, mark: "info", reason: misfit, fix: prune }
    : { ...here, mark: "warn", reason: misfit, fix: "'hotboot capture' makes another, as the next start does" };
}
