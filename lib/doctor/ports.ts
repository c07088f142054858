/** Whether the instance can have its ports, and who has them if not. */

import { lackingPorts } from "../emulator/ports.ts";
import { type Emulator, ownInstance } from "../instance/emulator.ts";
import { rememberedPorts } from "../instance/ports.ts";
import { readRecord } from "../instance/record.ts";
import type { Finding } from "./finding.ts";
import { listenersOn } from "./processes.ts";

/** Looks at those of the next start. @param runs The instance runs, and has them. */
export async function examinePorts(emulator: Emulator, runs: boolean): Promise<Finding[]> {
  const { home, instance, ports, profile } = emulator;
  if (runs || Object.keys(ports).length === 0) return [];
  const remembered = await rememberedPorts(home, instance);
  const isOwn = instance === await ownInstance(profile, home);
  const isFresh = await readRecord(emulator) === undefined;
  /** Others are chosen at the start, from those that are free. */
  const isFixed = (name: string) => isOwn || (remembered[name] && (remembered[name].asked || !isFresh));
  const fixed = Object.fromEntries(Object.entries(ports).filter(([name]) => isFixed(name)));
  const lacking = await lackingPorts({ ...emulator, ports: fixed }, remembered);
  const listeners = await listenersOn(lacking.map(({ port }) => port));
  const findings = lacking.map(({ name, port, what, todo }): Finding => {
    const { pid, program } = listeners.get(port) ?? {};
    const who = pid === undefined ? "" : ` (process ${pid}, ${program})`;
    return { id: `port.${name}`, mark: "fail", title: "ports", reason: what + who, fix: todo };
  });
  const free = Object.entries(fixed).filter(([name]) => !lacking.some((each) => each.name === name));
  const parts = [
    ...free.length > 0 ? [`free: ${free.map(([name, { host }]) => `${host} (${name})`).join(", ")}`] : [],
    ...free.length + lacking.length < Object.keys(ports).length ? ["the start chooses free ones"] : [],
  ];
  if (parts.length > 0) findings.push({ id: "ports", mark: "ok", title: "ports", reason: parts.join("; ") });
  return findings;
}
