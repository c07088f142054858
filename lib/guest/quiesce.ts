/** Prepares a healthy guest for its capture. */

import { HotbootError, messageOf } from "../base/error.ts";
import type { FrozenUnit } from "../profile/profile.ts";
import type { GuestState } from "../snapshot/manifest.ts";
import type { GuestAgent } from "../vm/guest_agent.ts";
import { shellCommand } from "../base/shell.ts";
import { steadyNow } from "../base/steady.ts";
import { connectAgent } from "./agent.ts";
import type { Emulator } from "../instance/emulator.ts";
import { clockOffset } from "./clock.ts";
import { peersOf } from "./peers.ts";
import { newEntropy, reseedCommand } from "./reseed.ts";

/**
 * Freezes the units that $1, a name or a systemd pattern, matches. Prints for each `frozen N UNIT GROUP` or
 * `running N UNIT WHY`, where N is $2. A group is frozen when the kernel says so (its documentation, "Control Group v2":
 * cgroup.freeze, cgroup.events).
 */
const FREEZE = `freeze_all() {
  case $1 in
    *[*?[]*) units=$(systemctl list-units --plain --no-legend "$1" 2>/dev/null | cut -d ' ' -f 1) ;;
    *) units=$1 ;;
  esac
  for unit in \${units:-"$1"}; do freeze "$unit" | sed "s/ / $2 /"; done
}
freeze() {
  group=$(systemctl show --property=ControlGroup --value "$1" 2>/dev/null) ||
    { echo "running $1 the guest has no systemd"; return; }
  [ -n "$group" ] || { echo "running $1 the guest does not have this unit, or it does not run"; return; }
  case "$(cat /proc/self/cgroup)" in *"::$group"|*"::$group/"*)
    echo "running $1 it contains the guest agent"; return;;
  esac
  path=/sys/fs/cgroup$group
  [ -w "$path/cgroup.freeze" ] || { echo "running $1 the guest has no control groups of version 2, which freeze"; return; }
  echo 1 >"$path/cgroup.freeze"
  left=100
  until grep -q '^frozen 1' "$path/cgroup.events"; do
    left=$((left - 1))
    [ $left -gt 0 ] || { echo 0 >"$path/cgroup.freeze"; echo "running $1 its processes do not freeze"; return; }
    sleep 0.1
  done
  echo "frozen $1 $group"
}`;

/**
 * Runs the profile's hooks, freezes its units, and finds out how to wake this guest later.
 *
 * @returns What the snapshot records, including what did not work, which has also been reported.
 * @throws {HotbootError} if a hook fails.
 */
export async function quiesce(emulator: Emulator): Promise<Omit<GuestState, "stoppedAt">> {
  const { profile, signal, report } = emulator;
  const { freeze = [], hooks: { beforeCapture = [] } = {} } = profile;
  let agent: GuestAgent;
  try {
    agent = await connectAgent(emulator);
  } catch (error) {
    signal.throwIfAborted();
    if (beforeCapture.length > 0) throw error;
    report.detail(`the guest agent: ${messageOf(error)}`);
    const notFrozen = freeze.map(({ unit }) => ({ unit, why: "the guest has no agent" }));
    return warned(emulator, { clock: "nothing", clockOffsetMs: 0, reseeds: false, frozen: [], notFrozen });
  }
  await using _agent = agent;
  const options = { timeoutMs: profile.timeouts.boot * 1000, signal };
  for (const hook of beforeCapture) {
    const { exitCode, stderr } = await agent.exec({ path: "/bin/sh", args: ["-c", shellCommand(hook)] }, options);
    if (exitCode === 0) continue;
    const said = new TextDecoder().decode(stderr).trim();
    throw new HotbootError(
      `the profile's hook '${hook.join(" ")}' failed before the capture (exit code ${exitCode}): ${said}; correct it`,
    );
  }
  // Not interrupted, since only its answer tells what to thaw.
  const { frozen, notFrozen } = await freezeUnits(agent, freeze, { timeoutMs: options.timeoutMs });
  try {
    signal.throwIfAborted();
    const reseeds = await canReseed(emulator, agent);
    const clock = reseeds ? "shift" : await agent.setTimeWithDate(undefined, { signal }) ? "date" : "agent";
    const clockOffsetMs = await clockOffset(agent, signal, steadyNow); // as `stopMachine` tells when it stopped
    const peers = await peersOf(agent, emulator); // last, so that hardly any comes afterwards
    return warned(emulator, { clock, clockOffsetMs, reseeds, frozen, notFrozen, ...(peers.length > 0 && { peers }) });
  } catch (error) {
    await thawUnits(agent, frozen);
    throw error;
  }
}

const THAW = 'for group; do echo 0 >"/sys/fs/cgroup$group/cgroup.freeze"; done';

/** Thaws what {@linkcode quiesce} has frozen in a guest that runs on, whatever the user wants by now. */
export async function thaw(emulator: Emulator, frozen: GuestState["frozen"]): Promise<void> {
  if (frozen.length === 0) return;
  await using agent = await connectAgent({ ...emulator, signal: new AbortController().signal });
  await thawUnits(agent, frozen);
}

async function thawUnits(agent: GuestAgent, frozen: GuestState["frozen"]): Promise<void> {
  const groups = frozen.map(({ group }) => group);
  if (groups.length > 0) await agent.exec({ path: "/bin/sh", args: ["-c", THAW, "sh", ...groups] });
}

async function freezeUnits(
  agent: GuestAgent,
  units: FrozenUnit[],
  options: { timeoutMs: number },
): Promise<Pick<GuestState, "frozen" | "notFrozen">> {
  const frozen: GuestState["frozen"] = [];
  const notFrozen: GuestState["notFrozen"] = [];
  if (units.length === 0) return { frozen, notFrozen };
  // Units that others depend on freeze last, because they thaw first.
  const order = units.toSorted(({ thaw: one = AFTER }, { thaw: other = AFTER }) => one.localeCompare(other));
  const calls = order.map(({ unit }, index) => `freeze_all ${shellCommand([unit])} ${index}`);
  const { stdout } = await agent.exec({ path: "/bin/sh", args: ["-c", [FREEZE, ...calls].join("\n")] }, options);
  const lines = new TextDecoder().decode(stdout).split("\n").map((line) => line.match(/^(\w+) (\d+) (\S+) (.*)$/));
  for (const [index, { unit: name, thaw = AFTER }] of order.entries()) {
    const own = lines.filter((line) => line !== null && Number(line[2]) === index);
    if (own.length === 0) notFrozen.push({ unit: name, why: "the guest's shell failed" });
    for (const [, state, , unit, rest] of own as RegExpMatchArray[]) {
      if (state === "frozen") frozen.push({ unit, group: rest, thaw });
      else notFrozen.push({ unit, why: rest });
    }
  }
  return { frozen, notFrozen };
}

const AFTER = "after rotation";

/** Tries whether the guest can do what each resume will ask of it. */
async function canReseed({ arch, signal, report }: Emulator, agent: GuestAgent): Promise<boolean> {
  const script = `read -r entropy; ${reseedCommand(arch, 0)}`;
  const input = new TextEncoder().encode(`${newEntropy()}\n`);
  const { exitCode, stderr } = await agent.exec({ path: "/bin/sh", args: ["-c", script], input }, { signal });
  if (exitCode !== 0) report.detail(`the guest cannot reseed its kernel: ${new TextDecoder().decode(stderr).trim()}`);
  return exitCode === 0;
}

function warned(emulator: Emulator, state: Omit<GuestState, "stoppedAt">): Omit<GuestState, "stoppedAt"> {
  for (const gap of gapsOf(state)) emulator.report.detail(gap);
  return state;
}

/** What a resume of this guest cannot guarantee, as sentences. */
export function gapsOf({ frozen, notFrozen, reseeds }: Pick<GuestState, "frozen" | "notFrozen" | "reseeds">): string[] {
  const gaps = notFrozen.map(({ unit, why }) =>
    `${unit} could not be frozen for the capture (${why}): after a resume it may briefly run with the clock, the random numbers and the secrets of the capture`
  );
  if (!reseeds) {
    const who = frozen.length > 0 ? "what is thawed" : "the guest";
    gaps.push(
      `the guest has no perl to reseed its kernel: the first random numbers of ${who} may repeat those of another resume`,
    );
  }
  return gaps;
}
