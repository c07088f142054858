/** Wakes a guest: entropy, clock, hooks, rotation and thaw, in this order, in one shell script. */

import { HotbootError, messageOf } from "../base/error.ts";
import { redact, secretLines, type Secrets } from "../profile/secrets.ts";
import type { GuestState } from "../snapshot/manifest.ts";
import { shellCommand } from "../base/shell.ts";
import { steppedBy } from "../base/steady.ts";
import { connectAgent } from "./agent.ts";
import { rightClockInPassing } from "./clock.ts";
import type { Emulator } from "../instance/emulator.ts";
import { gapsOf } from "./quiesce.ts";
import { newEntropy, reseedCommand } from "./reseed.ts";
import type { Timeline } from "../base/timeline.ts";

/** What to wake. */
export interface Sleeper {
  /** How it was captured; absent if it was booted and only needs its secrets rotated. */
  guest?: GuestState;
  /** When its CPUs were started after that, by the host's clock: milliseconds since 1970. */
  resumedAt?: number;
  /** Commands to run in it once its kernel is awake. */
  hooks?: string[][];
  /** The new values; absent to keep the current ones. */
  secrets?: Secrets;
}

/** One step of the script. */
interface Step {
  name: string;
  command: string;
}

/** The script's output: the guest's uptime after each step, or the exit code of the step that failed. */
const PRELUDE = `mark() { read -r up _ </proc/uptime; echo "mark $up $1"; }
fail() { code=$?; mark "$1"; echo "failed $code $1"; exit 1; }
read -r entropy
mark begin`;
const LONGEST_SHOWN = 500;
/** If the host's clock was stepped by more meanwhile, the guest was given the time of before. */
const STEP_MS = 500;

/**
 * Wakes the guest, and returns when that is done.
 *
 * Sends secrets and entropy over the agent's channel and a pipe, and nowhere else.
 *
 * @throws {HotbootError} if a step fails or takes too long, with the guest's output but no secret. Units that would have
 * thawed later are still frozen then.
 */
export async function wake(emulator: Emulator, sleeper: Sleeper, timeline: Timeline): Promise<void> {
  const { profile, signal, report } = emulator;
  const { guest, secrets } = sleeper;
  const steps = stepsOf(emulator, sleeper);
  if (guest && (guest.frozen.length > 0 || guest.notFrozen.length > 0 || secrets)) gapsOf(guest).forEach(report.warn);
  const [begin, stepped] = [timeline.elapsed(), steppedBy()];
  try {
    await using agent = await connectAgent(emulator);
    if (guest?.clock === "agent") await agent.setTime(undefined, { signal });
    if (steps.length === 0) return;
    const script = [
      PRELUDE,
      ...portLines(emulator),
      ...steps.map(({ name, command }) => {
        const label = shellCommand([name]);
        return `${command} || fail ${label}\nmark ${label}`;
      }),
    ].join("\n");
    const input = new TextEncoder().encode(`${newEntropy()}\n${secrets ? secretLines(secrets) : ""}`);
    const seconds = (secrets && profile.rotation?.timeout) ?? profile.timeouts.resume;
    const result = await agent.exec(
      { path: "/bin/sh", args: ["-c", script], input },
      { timeoutMs: seconds * 1000, signal, what: secrets ? "the rotation" : "waking the guest" },
    );
    const lines = new TextDecoder().decode(result.stdout).trim().split("\n");
    record(timeline, begin, lines, steps.length);
    if (result.exitCode === 0) {
      if (guest && Math.abs(steppedBy() - stepped) > STEP_MS) await rightClockInPassing(emulator, agent);
      return;
    }
    const said = redact(new TextDecoder().decode(result.stderr), secrets ?? {}).trim().slice(-LONGEST_SHOWN);
    throw new HotbootError(
      `${explain(lines.at(-1)!, result.exitCode)}: ${
        said || "it said nothing"
      }; 'hotboot logs' shows the guest's console`,
    );
  } catch (error) {
    signal.throwIfAborted();
    if (secrets || steps.length > 0) throw error;
    report.warn(`the guest's clock still shows the time of its capture: ${messageOf(error)}; 'hotboot start' sets it`);
  }
}

function stepsOf({ arch, profile }: Emulator, { guest, resumedAt, hooks = [], secrets }: Sleeper): Step[] {
  const steps: Step[] = [];
  const thaw = (when: string) => {
    for (const { unit, group } of guest?.frozen.filter((each) => each.thaw === when) ?? []) {
      const file = shellCommand([`/sys/fs/cgroup${group}/cgroup.freeze`]);
      steps.push({ name: `thaw ${unit}`, command: `echo 0 >${file}` });
    }
  };
  if (guest?.reseeds && resumedAt) {
    const shiftMs = resumedAt - guest.stoppedAt - guest.clockOffsetMs;
    steps.push({ name: "entropy and clock", command: reseedCommand(arch, shiftMs) });
  } else if (guest && guest.clock !== "nothing") {
    // Better than nothing: the kernel mixes it in, and uses it when it notices its new generation id.
    steps.push({ name: "entropy", command: `printf %s "$entropy" >/dev/urandom` });
  }
  if (guest?.clock === "date") {
    steps.push({
      name: "clock",
      command: `date -u -s ${shellCommand([`@${(Date.now() / 1000).toFixed(3)}`])} >/dev/null`,
    });
  }
  thaw("before rotation");
  for (const hook of hooks) {
    steps.push({ name: `hook ${hook[0]}`, command: `${shellCommand(hook)} </dev/null >&2` });
  }
  if (secrets) steps.push({ name: "rotation", command: `${shellCommand(profile.rotation!.command)} >&2` });
  thaw("after rotation");
  return steps;
}

/** The host's ports of this instance, for all that the script runs: in the guest's memory are those of the profile. */
export function portLines({ ports }: Pick<Emulator, "ports">): string[] {
  return Object.entries(ports).map(([name, { host }]) =>
    `export HOTBOOT_PORT_${name.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_")}=${host}`
  );
}

/**
 * Records the guest's own times as phases that end when its answer came; a unit's thaw is too short for a phase. The guest may
 * answer anything: it gets no more phases than the script has steps, each within the time that all of them took.
 */
function record(timeline: Timeline, begin: number, lines: string[], steps: number): void {
  const [, broken] = lines.at(-1)!.match(/^failed \d+ (.+)$/) ?? [];
  const marks = lines.map((line) => line.match(/^mark (\d{1,12}(?:\.\d+)?) (.+)$/)).filter((match) => match !== null)
    .map(([, uptime, name]) => ({ at: Number(uptime) * 1000, name })).slice(0, steps + 1);
  const end = timeline.elapsed();
  const last = marks.at(-1)?.at ?? 0;
  const onHost = (at: number) => Math.min(end, Math.max(begin, end - (last - at)));
  for (const [index, { at, name }] of marks.entries()) {
    const failed = name === broken ? true : undefined;
    if (index === 0) timeline.record("agent", begin, onHost(at));
    else if (failed || !name.startsWith("thaw ")) {
      const from = onHost(marks[index - 1].at);
      timeline.record(name, from, Math.max(from, onHost(at)), failed);
    }
  }
}

function explain(lastLine: string, exitCode: number): string {
  const [, code, name] = lastLine.match(/^failed (\d+) (.+)$/) ?? [undefined, exitCode, "the guest's shell"];
  const what = name === "rotation" ? "the rotation command" : `'${name}'`;
  return `${what} failed in the guest (exit code ${code})`;
}
