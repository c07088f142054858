/** The host ports that a start needs: which they are, and that they are free. */

import { HostError, HotbootError, messageOf } from "../base/error.ts";
import { makerName } from "../instance/channels.ts";
import { type Emulator, ownInstance } from "../instance/emulator.ts";
import { lock } from "../instance/locks.ts";
import { isPort, type RememberedPorts, rememberedPorts, rememberPorts, withRemembered } from "../instance/ports.ts";
import { readRecord } from "../instance/record.ts";
import { instanceNames } from "../instance/users.ts";
import type { Profile } from "../profile/profile.ts";

/** Stands for any port that is free. */
const ANY_PORT = "127.0.0.1:0";

/** What a start is to do about ports. */
export interface PortsWanted {
  /** Those that somebody has named. */
  asked?: Record<string, number>;
  /** Nothing of the instance is kept, so that nobody relies on a port that hotboot has chosen. */
  isFresh: boolean;
}

/**
 * Finds the ports of an instance that is to be started, under its lock. The profile's own instance has the profile's.
 * Another one gets free ports at its first start, and has them until it is reset.
 *
 * @returns The emulator with those ports, which are remembered.
 * @throws {HotbootError} when a port is taken, naming who has it, or there is no such port.
 */
export async function takePorts(emulator: Emulator, { asked = {}, isFresh }: PortsWanted): Promise<Emulator> {
  const { home, instance, profile } = emulator;
  requirePorts(profile, asked);
  using _lock = await lockPorts(emulator);
  const before = await rememberedPorts(home, instance);
  const named = Object.entries(asked).map(([name, port]) => [name, { port, asked: true }] as const);
  const ports = await completed(emulator, { ...before, ...Object.fromEntries(named) }, isFresh);
  const taking = { ...emulator, ports: withRemembered(profile, ports) };
  await requireFreePorts(taking, ports);
  await warnOfNamesakes(taking);
  if (JSON.stringify(ports) !== JSON.stringify(before)) await rememberPorts(home, instance, ports);
  return taking;
}

/**
 * Chooses and remembers what a start would choose, for a start that may not listen on any port to find a free one. A port
 * that was asked for is the start's to look at.
 */
export async function preparePorts(emulator: Emulator): Promise<void> {
  const { home, instance } = emulator;
  using _lock = await lockPorts(emulator);
  const before = await rememberedPorts(home, instance);
  const ports = await completed(emulator, before, await readRecord(emulator) === undefined);
  if (JSON.stringify(ports) !== JSON.stringify(before)) await rememberPorts(home, instance, ports);
}

/** @throws {HotbootError} when an instance that is up has other ports than these. */
export function requireSamePorts({ instance }: Emulator, ports: Record<string, number>, asked: Record<string, number>) {
  for (const [name, port] of Object.entries(asked)) {
    if (ports[name] === port) continue;
    throw new HotbootError(
      `instance '${instance}' runs, so that its port '${name}' cannot become ${port}: stop it first ('hotboot stop --instance ${instance}')`,
    );
  }
}

/** A port that an instance cannot have. */
export interface LackingPort {
  /** Its name in the profile. */
  name: string;
  /** Its number on the host. */
  port: number;
  /** Why. */
  what: string;
  /** What to do about it. */
  todo: string;
}

/** @throws {HostError} naming the first of the instance's ports that cannot be listened on, and who has it. */
export async function requireFreePorts(emulator: Emulator, remembered: RememberedPorts = {}): Promise<void> {
  for (const { what, todo } of await lackingPorts(emulator, remembered)) throw new HostError(what, todo);
}

/** The instance's ports that cannot be listened on. */
export async function lackingPorts(emulator: Emulator, remembered: RememberedPorts): Promise<LackingPort[]> {
  const { instance, ports } = emulator;
  const names = new Map<number, string>();
  const lacking: LackingPort[] = [];
  for (const [name, { host, variable }] of Object.entries(ports)) {
    const other = names.get(host);
    names.set(host, name);
    if (other !== undefined) {
      const what = `port ${host} would be both '${other}' and '${name}'`;
      lacking.push({ name, port: host, what, todo: "name another with --port" });
      continue;
    }
    const failure = whyNotFree(host);
    if (failure === undefined) continue;
    const [why, mend] = failure instanceof Deno.errors.AddrInUse
      ? await whoHas(emulator, host)
      : [`cannot be listened on (${messageOf(failure)})`, "make that possible"];
    const change = remembered[name]
      ? `name another ('hotboot start --instance ${instance} --port ${name}=N')`
      : variable
      ? `set ${variable} to another`
      : `change ports.${name}.host in the profile`;
    lacking.push({ name, port: host, what: `port ${host} ('${name}') ${why}`, todo: `${mend}, or ${change}` });
  }
  return lacking;
}

/** Programs that connect to `localhost` may try IPv6 first, where QEMU does not listen and others may. */
async function warnOfNamesakes({ ports, report }: Emulator): Promise<void> {
  for (const { host } of Object.values(ports)) {
    const { state } = await Deno.permissions.query({ name: "net", host: `[::1]:${host}` });
    if (state !== "granted" || !(whyNotFree(host, "::1") instanceof Deno.errors.AddrInUse)) continue;
    report.warn(
      `another program listens on [::1]:${host}, where 'localhost:${host}' may lead: use 127.0.0.1:${host}, or end that program`,
    );
  }
}

/** Two that choose at the same time do not choose the same. */
function lockPorts({ home, signal }: Emulator): Promise<Disposable> {
  return lock(home, "ports", () => {}, signal);
}

function requirePorts({ ports, name: profile }: Profile, asked: Record<string, number>): void {
  for (const [name, port] of Object.entries(asked)) {
    if (!Object.hasOwn(ports, name)) {
      throw new HotbootError(
        `profile '${profile}' has no port '${name}': name one of ${Object.keys(ports).join(", ")}`,
      );
    }
    if (!isPort(port)) throw new HotbootError(`port '${name}' is ${port}: use a whole number from 1 to 65535`);
  }
}

/** The same, with a free port for each that is missing, or that was chosen, is taken by now, and nobody relies on. */
async function completed(emulator: Emulator, ports: RememberedPorts, isFresh: boolean): Promise<RememberedPorts> {
  const { home, instance, profile } = emulator;
  if (instance === await ownInstance(profile, home)) return ports;
  const isLost = (name: string) =>
    !ports[name] || (isFresh && !ports[name].asked && whyNotFree(ports[name].port) !== undefined);
  const lost = Object.keys(profile.ports).filter(isLost);
  if (lost.length === 0) return ports;
  const { state } = await Deno.permissions.query({ name: "net", host: ANY_PORT });
  const found = state === "granted"
    ? freePorts(lost.length, await spokenFor(emulator, ports))
    : lost.map((name) => prepared(emulator, name));
  return { ...ports, ...Object.fromEntries(lost.map((name, index) => [name, { port: found[index] }])) };
}

/** Whoever may not look for free ports has had them chosen: see {@linkcode preparePorts}. @throws {HotbootError} */
function prepared({ instance, ports, profile }: Emulator, name: string): number {
  const { host } = ports[name];
  if (host !== profile.ports[name].host) return host;
  throw new HotbootError(
    `instance '${instance}' has no port '${name}': if it was reset just now, try again; a program that may not listen on ${ANY_PORT}, to find a free one, names a port`,
  );
}

/** So many ports that nobody listens on, other than those. */
function freePorts(count: number, others: Set<number>): number[] {
  const held: Deno.TcpListener[] = []; // until the last is found, so that they differ
  const found: number[] = [];
  try {
    while (found.length < count) {
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      held.push(listener);
      if (!others.has(listener.addr.port)) found.push(listener.addr.port);
    }
  } finally {
    held.forEach((listener) => listener.close());
  }
  return found;
}

/** The profile's own ports, and those of all instances of the home. */
async function spokenFor(emulator: Emulator, asked: RememberedPorts): Promise<Set<number>> {
  const { home, profile } = emulator;
  const ports = new Set(Object.values(profile.ports).map(({ host }) => host));
  for (const { port } of Object.values(asked)) ports.add(port);
  for (const instance of [...await instanceNames(emulator), makerName(emulator)]) {
    for (const { port } of Object.values(await rememberedPorts(home, instance))) ports.add(port);
    for (const port of Object.values(await portsOfRecord(emulator, instance))) ports.add(port);
  }
  return ports;
}

async function portsOfRecord({ home }: Emulator, instance: string): Promise<Record<string, number>> {
  const record = await readRecord({ home, instance });
  return record && "ports" in record ? record.ports : {};
}

function whyNotFree(port: number, hostname = "127.0.0.1"): unknown {
  try {
    Deno.listen({ hostname, port }).close();
  } catch (error) {
    return error;
  }
}

/** Who has a port, and what to do about it. */
async function whoHas({ home, ...emulator }: Emulator, port: number): Promise<[string, string]> {
  for (const instance of await instanceNames({ home })) {
    if (instance === emulator.instance) continue;
    const record = await readRecord({ home, instance });
    if (!record || "damaged" in record || record.phase === "stopped") continue;
    if (!Object.values(record.ports).includes(port)) continue;
    const stop = `'hotboot stop --profile ${record.profile} --instance ${instance}'`;
    return [`belongs to instance '${instance}'`, `stop it (${stop})`];
  }
  return ["is taken by another program", "end that program"];
}
