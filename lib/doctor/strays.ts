/** What killed programs have left: QEMUs that belong to no instance, and files that no command uses. */

import { exists } from "@std/fs/exists";
import { formatBytes } from "../base/format.ts";
import { sleep } from "../base/wait.ts";
import { pruneLeftovers } from "../emulator/prune.ts";
import type { Emulator } from "../instance/emulator.ts";
import { killQemu } from "../instance/kill.ts";
import { tryLockInstance } from "../instance/locks.ts";
import { readRecord } from "../instance/record.ts";
import { isAtRest, stateOf } from "../instance/state.ts";
import type { Finding } from "./finding.ts";
import { type HomeProcess, homeProcesses } from "./processes.ts";

/** From the end of QEMU's monitor to the end of the process. */
const ENDING_MS = 1000;

/** Finds it. @param fix Ends and removes it. */
export async function examineStrays(emulator: Emulator, fix: boolean): Promise<Finding[]> {
  const findings = [...await examineProcesses(emulator, fix), ...await examineLeftovers(emulator, fix)];
  return findings.length > 0 ? findings : [{ id: "strays", mark: "ok", title: "strays", reason: "none" }];
}

async function examineProcesses(emulator: Emulator, fix: boolean): Promise<Finding[]> {
  let suspects = await suspectsOf(emulator);
  if (!suspects) {
    const reason = "there is no bash on PATH to look for processes with";
    return [{ id: "strays", mark: "info", title: "strays", reason, fix: "install bash" }];
  }
  if (suspects.length > 0) { // one may have been ending
    await sleep(ENDING_MS, emulator.signal);
    suspects = await suspectsOf(emulator) ?? [];
  }
  const findings: Finding[] = [];
  for (const { place, ...each } of suspects) {
    findings.push(place === "unreachable" ? unreachable(emulator, each) : await stray(emulator, each, fix));
  }
  return findings;
}

type Suspect = HomeProcess & { place: "unreachable" | "none" };

/** The QEMUs that no command can speak with. */
async function suspectsOf(emulator: Emulator): Promise<Suspect[] | undefined> {
  const suspects: Suspect[] = [];
  const processes = await homeProcesses(emulator.home);
  for (const each of processes ?? []) {
    const place = await placeOf(emulator, each);
    if (place !== "its own") suspects.push({ ...each, place });
  }
  return processes && suspects;
}

/** Whether the process is the machine of its instance. A record is written before QEMU starts, and removed after it has ended. */
async function placeOf(
  emulator: Emulator,
  { instance, uuid }: HomeProcess,
): Promise<"its own" | Suspect["place"]> {
  const one = { ...emulator, instance };
  if (!await exists(emulator.home.instance(instance))) return "none";
  const record = await readRecord(one);
  await using state = await stateOf(one);
  const isRecorded = record !== undefined && "uuid" in record && record.uuid === uuid;
  if (isRecorded) return isAtRest(state.kind) ? "unreachable" : "its own";
  return state.kind === "damaged" || state.kind === "unresponsive" ? "its own" : "none"; // the instance's finding tells
}

function unreachable(emulator: Emulator, { instance, pid }: HomeProcess): Finding {
  const reason =
    `QEMU of instance '${instance}' (process ${pid}) runs, but the sockets to speak with it are gone, so that the instance cannot be started`;
  return {
    id: `process.${pid}`,
    mark: instance === emulator.instance ? "fail" : "warn",
    title: "strays",
    reason,
    fix: `end it ('kill ${pid}'); 'hotboot start --instance ${instance}' boots its disk then`,
  };
}

async function stray(emulator: Emulator, process: HomeProcess, fix: boolean): Promise<Finding> {
  const { instance, pid, uuid } = process;
  const here = { id: `process.${pid}`, title: "strays" };
  const reason = `QEMU (process ${pid}) of an instance '${instance}' that is gone`;
  const byHand = { ...here, mark: "warn", reason, fix: `'hotboot doctor --fix' ends it, or 'kill ${pid}'` } as const;
  if (!fix) return byHand;
  using lock = await tryLockInstance({ ...emulator, instance });
  if (!lock || await placeOf(emulator, process) !== "none") {
    return { ...here, mark: "info", reason: `another hotboot works on instance '${instance}'` };
  }
  const { success, why } = await killQemu(pid, uuid);
  return success
    ? { ...here, mark: "ok", reason: `${reason}: ended`, fixed: true }
    : { ...byHand, reason: `${reason}: ${why}`, fix: `end it ('kill -9 ${pid}')` };
}

async function examineLeftovers(emulator: Emulator, fix: boolean): Promise<Finding[]> {
  const all = await pruneLeftovers(emulator, !fix);
  return all.map(({ path, why, bytes }) => {
    const here = { id: `leftover.${path}`, title: "strays" };
    const reason = `${path}: ${why} (${formatBytes(bytes)})`;
    return fix
      ? { ...here, mark: "ok", reason: `${reason}: removed`, fixed: true }
      : { ...here, mark: "warn", reason, fix: "'hotboot doctor --fix' removes it" };
  });
}
