/** The host's files in a running guest: attached while it is up, detached while it is saved. */

import { HotbootError, messageOf } from "../base/error.ts";
import type { Share } from "../profile/profile.ts";
import type { QmpClient } from "../vm/qmp.ts";
import { plugShare, requireUnmounted, sharedTag, unplugShare } from "../vm/share.ts";
import type { Emulator } from "../instance/emulator.ts";
import { isWithin, sharedPart } from "../instance/shared_part.ts";
import { stateOf } from "../instance/state.ts";
import { connectAgent } from "./agent.ts";
import { Timeline } from "../base/timeline.ts";

/**
 * Unmounts what has the tag $1, and retries while it is busy. Changes nothing if a container has a mount of its own: only the
 * container could mount it again. A container's mount is not its own if its mount point follows (as a slave or peer) the
 * guest's mount point: it goes away with the guest's (the kernel's documentation, "Shared Subtrees"; proc(5), mountinfo:
 * shared, master). If it stays busy, the processes that have something of it open are named.
 */
const UNMOUNT = `others() {
  grep -Hs '' /proc/self/mountinfo /proc/[0-9]*/mountinfo | awk -v tag="$1" '
    {
      split($1, part, ":"); file = part[1]; id = part[2]; groups = ""
      for (i = 7; i < NF && $i != "-"; i++) if ($i ~ /^(shared|master):/) groups = groups " " substr($i, 8)
      peers[file, id] = groups
      if (file == "/proc/self/mountinfo") guest[id]
      if ($(i + 1) != "9p" || $(i + 2) != tag) next
      of[++count] = file; mount[count] = id; on[count] = $2; at[count] = $5
    }
    END {
      for (n = 1; n <= count; n++) if (mount[n] in guest) {
        split(peers[of[n], on[n]], group, " ")
        for (i in group) leads[group[i]]
      }
      for (n = 1; n <= count; n++) if (!(mount[n] in guest)) {
        follows = 0
        split(peers[of[n], on[n]], group, " ")
        for (i in group) if (group[i] in leads) follows = 1
        if (!follows) { split(of[n], part, "/"); print part[3], at[n]; exit }
      }
    }' | while read -r process at; do
      read -r name <"/proc/$process/comm" && echo "'$name' (process $process) has mounted them at $at in a container"
    done
}
others=$(others "$1")
[ -z "$others" ] || { echo "$others" >&2; exit 1; }
mounts() {
  while read -r source at type _; do [ "$source $type" != "$1 9p" ] || printf '%b\\n' "$at"; done </proc/mounts
}
users() {
  ls -ld /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/exe /proc/[0-9]*/fd/* 2>/dev/null |
    sed -n 's|.* /proc/\\([0-9]*\\)/[^ ]* -> |\\1 |p' | while read -r process file; do
      case $file in "$1"|"$1"/*) read -r name <"/proc/$process/comm" && echo "'$name' (process $process) uses $file";; esac
    done | sort -u | head -n 3
}
left=30
until [ -z "$(mounts "$1")" ]; do
  mounts "$1" | while IFS= read -r at; do
    if [ $left -gt 0 ]; then umount "$at" 2>/dev/null; else umount "$at" >&2 || users "$at" >&2; fi
  done
  [ $left -gt 0 ] || exit 1
  left=$((left - 1))
  [ -z "$(mounts "$1")" ] || sleep 0.1
done`;
/** Switches off the slot of the device with the tag $1, which unplugs it at once. */
const SWITCH_OFF = `for tag in /sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag; do
  [ "$(tr -d '\\0' <"$tag")" = "$1" ] || continue
  device=$(readlink -f "\${tag%/*}/..")
  for slot in /sys/bus/pci/slots/*; do
    [ "\${device##*/}" != "$(cat "$slot/address").0" ] || echo 0 >"$slot/power"
  done
done`;
const UNMOUNT_MS = 30_000;

/**
 * Runs the guest's mount command $@, and retries because the guest may not have found the device yet. Reports the output of
 * the last try. If only a part of what the guest expects there is shared, the mount with the tag $1 then moves to the place of
 * that part, $2: only a new one can be below a mount that containers follow.
 */
const MOUNT = `tag=$1 part=$2
shift 2
left=50
until said=$("$@" 2>&1 </dev/null); do
  code=$?
  left=$((left - 1))
  [ $left -gt 0 ] || { echo "$said" >&2; exit $code; }
  sleep 0.2
done
[ -n "$part" ] || exit 0
mounts=$(cat /proc/mounts)
echo "$mounts" | while read -r source at type options _; do
  [ "$source $type" = "$tag 9p" ] || continue
  at=$(printf '%b' "$at")
  umount "$at" && mkdir -p "$at$part" && mount -t 9p -o "$options" "$tag" "$at$part" || exit
done`;
const MOUNT_MS = 30_000;
const LONGEST_SHOWN = 500;

/**
 * Gives the host's files to a guest whose services are up, if the profile shares any: plugs them in, and makes the guest
 * mount them. Not earlier: a guest that finds them during boot mounts them itself, and a container started over a mount gets
 * a mount of its own, which nobody can remove.
 *
 * @throws {HotbootError} if there is nothing to share, or the guest cannot mount it, with its output.
 */
export async function giveShare(emulator: Emulator, qmp: QmpClient, timeline = new Timeline()): Promise<void> {
  const { share } = emulator.profile;
  if (share) await timeline.phase("share", () => plugAndMount(emulator, qmp, share));
}

/** The place of the part below the share; empty if it is all of it. */
function placeOfPart({ path, part }: Share): string {
  return part === undefined ? "" : part.slice(path.replace(/\/$/, "").length);
}

/**
 * Says what a share gives away if hotboot's own files are in it, as in the user's home: then all else of the user's is, too. Call
 * it when the instance is new.
 */
export function warnOfShare({ profile: { share }, home, report }: Emulator): void {
  if (!share || !isWithin(home.root, sharedPart(share))) return;
  const [can, worst] = share.readOnly === false
    ? ["read and change", "so it can run programs as you: by ~/.bashrc, or a git hook"]
    : ["read", "the keys in ~/.ssh too"];
  report.warn(
    `the guest can ${can} all of your files below ${
      sharedPart(share)
    }, ${worst}: use only images that you trust, or name a smaller directory in share.path`,
  );
}

async function plugAndMount(emulator: Emulator, qmp: QmpClient, share: Share): Promise<void> {
  const { signal } = emulator;
  await plugShare(qmp, share.tag, { signal });
  await using agent = await connectAgent(emulator);
  const { exitCode, stderr } = await agent.exec(
    { path: "/bin/sh", args: ["-c", MOUNT, "sh", share.tag, placeOfPart(share), ...share.mount] },
    { timeoutMs: MOUNT_MS, signal, what: "mounting the host's files in the guest" },
  );
  if (exitCode === 0) return;
  const said = new TextDecoder().decode(stderr).trim().slice(-LONGEST_SHOWN);
  throw new HotbootError(
    `the command that mounts the host's files failed in the guest (exit code ${exitCode}): ${
      said || "it said nothing"
    }; check share.mount in the profile`,
  );
}

/** Gives a running guest the host's files if it lost them, or warns why it cannot. The caller holds the instance's lock. */
export async function restoreShare(emulator: Emulator, timeline?: Timeline): Promise<void> {
  const { profile, signal } = emulator;
  if (!profile.share) return;
  await using state = await stateOf(emulator, { isOwner: true });
  if (state.kind !== "running" || await sharedTag(state.qmp, { signal }) !== undefined) return;
  await giveShare(emulator, state.qmp, timeline).catch((error) => {
    emulator.signal.throwIfAborted();
    emulator.report.warn(
      `the guest does not have the host's files (${
        messageOf(error)
      }): 'hotboot stop' and then 'hotboot start' bring them back`,
    );
  });
}

/**
 * Takes the files away from the guest. A paused guest continues for that.
 *
 * @throws {HotbootError} if the guest uses them. They may be unmounted in places.
 */
export async function detachShare(emulator: Emulator, qmp: QmpClient): Promise<void> {
  const { arch, signal, report } = emulator;
  const tag = await sharedTag(qmp, { signal });
  if (tag === undefined) return;
  if (!(await qmp.execute<{ running: boolean }>("query-status", {}, { signal })).running) {
    report.detail("it was paused; it continues to unmount the host's files");
    await qmp.execute("cont", {}, { signal });
  }
  await using agent = await connectAgent(emulator);
  const { exitCode, stderr } = await agent.exec(
    { path: "/bin/sh", args: ["-c", UNMOUNT, "sh", tag] },
    { timeoutMs: UNMOUNT_MS, signal, what: "unmounting the host's files in the guest" },
  );
  if (exitCode !== 0) {
    throw new HotbootError(
      `the guest uses the host's files: ${new TextDecoder().decode(stderr).trim()}; end what uses them in the guest`,
    );
  }
  await requireUnmounted(qmp, { signal });
  // arm64 has no ACPI for this; the guest itself does it faster.
  if (arch === "arm64") await agent.exec({ path: "/bin/sh", args: ["-c", SWITCH_OFF, "sh", tag] }, { signal });
  await unplugShare(qmp, { signal });
}
