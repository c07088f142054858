/** The instances of the home: whether each is in order, and what the next start of it does. */

import { messageOf } from "../base/error.ts";
import { withOptions } from "../base/advice.ts";
import { requireSameImage } from "../emulator/boot.ts";
import { asCaptured, presentSetup } from "../emulator/compatibility.ts";
import { sessionFault } from "../emulator/continue.ts";
import type { InstanceInfo } from "../emulator/list.ts";
import { type Emulator, withInstance } from "../instance/emulator.ts";
import { requireNoLinks } from "../instance/home.ts";
import { readRecord } from "../instance/record.ts";
import type { StateName } from "../instance/state.ts";
import type { Finding } from "./finding.ts";

/** What the next start does with an instance that needs no attention. */
const NEXT: Record<StateName, string> = {
  "stopped": "the next start begins anew",
  "starting": "another hotboot starts it",
  "running": "its QEMU answers",
  "paused": "the next start continues it",
  "stopping": "another hotboot stops it",
  "suspended": "the next start continues it",
  "shut down": "the next start boots its disk",
  "crashed": "its QEMU ended by itself, and the next start boots its disk",
  "abandoned": "the next start ends it, and starts it again",
  "unresponsive": "its QEMU does not answer",
  "damaged": "its files are damaged",
};

/** Judges each. What keeps the emulator's own instance from starting is a failure. */
export async function examineInstances(emulator: Emulator, instances: InstanceInfo[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const info of instances) {
    const own = info.instance === emulator.instance ? emulator.profile.name : undefined;
    const finding = judgeInstance(info, own);
    const isSound = finding.mark === "ok" || finding.mark === "info";
    const fault = isSound ? await faultOf(emulator, info) : undefined;
    findings.push(fault ? { ...finding, mark: own === undefined ? "warn" : "fail", ...fault } : finding);
  }
  return findings;
}

/** Judges one by its state. @param own The profile's name, if the instance is the emulator's own. */
export function judgeInstance({ instance, state, profile, why }: InstanceInfo, own?: string): Finding {
  const here = { id: `instance.${instance}`, title: "instance" };
  if (own !== undefined && profile !== undefined && profile !== own) {
    const reason = `${instance} is ${state}, and belongs to profile '${profile}'`;
    return { ...here, mark: "fail", reason, fix: `type --profile ${profile}, or name another --instance` };
  }
  if (state === "damaged" || state === "unresponsive") {
    return { ...here, mark: own === undefined ? "warn" : "fail", reason: why ?? `${instance}: ${NEXT[state]}` };
  }
  const isQuiet = state !== "paused" && state !== "abandoned";
  return { ...here, mark: isQuiet ? "ok" : "warn", reason: `${instance} is ${state}: ${why ?? NEXT[state]}` };
}

/** What keeps an instance of the emulator's profile that is at rest from starting. */
async function faultOf(
  emulator: Emulator,
  { instance, profile, arch, state }: InstanceInfo,
): Promise<{ reason: string; fix?: string } | undefined> {
  const one = { ...await withInstance(emulator, instance), ...(arch && { arch }) };
  try {
    await requireNoLinks(one.home.instance(instance));
    if (profile !== emulator.profile.name || !["suspended", "shut down", "crashed"].includes(state)) return undefined;
    const [setup, record] = [await presentSetup(one), await readRecord(one)];
    if (!setup || !record || "damaged" in record) return undefined; // the image's finding says so
    if (!record.memory) return void requireSameImage(one, record, setup);
    const fault = await sessionFault(one, await asCaptured(one, setup, record, { emulated: true }), record);
    if (!fault) return undefined;
    const cold = withOptions("'hotboot start --cold'", { instance });
    return {
      reason: `${instance} is suspended, and cannot continue: ${fault.why}`,
      fix: `${fault.mend}, or lose what was only in memory (${cold})`,
    };
  } catch (error) {
    emulator.signal.throwIfAborted();
    return { reason: withOptions(messageOf(error), { instance }) };
  }
}
