/**
 * Serial ports for the streams of a program in the guest: plugged into a running machine, each with a unix socket on the
 * host. QEMU loads a saved machine only into one with the same devices, so they must be unplugged before saving.
 *
 * They go onto the controller that the guest agent's port is on. It has 29 free places: nine slots of three ports.
 *
 * Source: QEMU's documentation, "QMP Reference Manual" (chardev-add, device_add, DEVICE_DELETED, query-chardev); Linux's
 * drivers/char/virtio_console.c.
 */

import { sleep, type WaitOptions } from "../base/wait.ts";
import { connectUnix } from "./connect.ts";
import type { QmpClient } from "./qmp.ts";

/** What a port is for. `out` also carries the input of a terminal, and each slot in use has one. */
export type PortKind = "in" | "out" | "err";

const KINDS: PortKind[] = ["in", "out", "err"];
const SLOTS = ["exec1", "exec2", "exec3", "exec4", "exec5", "exec6", "exec7", "exec8", "exec9"];
const UNPLUG_MS = 10_000;
const ACCEPT_PAUSE_MS = 2;

/** One port. */
export interface Port {
  /** Its name in the guest, which no other port has had: `/sys/class/virtio-ports/…/name`. */
  name: string;
  /** Its other end. */
  connection: Deno.UnixConn;
}

/** The ports of one program. */
export interface Slot {
  id: string;
  ports: Partial<Record<PortKind, Port>>;
}

/** The sockets that ports may have, in the directory of the machine's sockets. */
export function portSockets(directory: string): string[] {
  return SLOTS.flatMap((slot) => KINDS.map((kind) => `${directory}/${slot}.${kind}`));
}

/** The slots whose other ends are held (`live`), and those that a killed program has left. */
export async function usedSlots(qmp: QmpClient, options: WaitOptions): Promise<{ live: string[]; left: string[] }> {
  const chardevs = await chardevsOf(qmp, options);
  const devices = await devicesOf(qmp, options);
  const isUsed = (slot: string) => [...chardevs.keys(), ...devices].some((id) => id.startsWith(`${slot}.`));
  const used = SLOTS.filter(isUsed);
  const isLive = (slot: string) => chardevs.get(`${slot}.out`) === true;
  return { live: used.filter(isLive), left: used.filter((slot) => !isLive(slot)) };
}

/**
 * Plugs the ports in, and connects to them. Hold the monitor only for this: a slot whose ports are not connected counts as
 * left by a killed program, and whoever holds the monitor removes it.
 *
 * @param directory The directory of the machine's sockets.
 * @returns The slot, or `undefined` if all are in use.
 */
export async function plugPorts(
  qmp: QmpClient,
  directory: string,
  kinds: PortKind[],
  options: WaitOptions,
): Promise<Slot | undefined> {
  const { live, left } = await usedSlots(qmp, options);
  await unplugPorts(qmp, left, options);
  const id = SLOTS.find((slot) => !live.includes(slot));
  if (id === undefined) return undefined;
  const token = crypto.randomUUID();
  const slot: Slot = { id, ports: {} };
  try {
    for (const kind of kinds) {
      const [port, path] = [`${id}.${kind}`, `${directory}/${id}.${kind}`];
      const addr = { type: "unix", data: { path } };
      const backend = { type: "socket", data: { addr, server: true, wait: false } };
      await qmp.execute("chardev-add", { id: port, backend }, options);
      const name = `hotboot.${kind}.${token}`;
      slot.ports[kind] = { name, connection: await connectUnix(path, options) };
      await qmp.execute("device_add", { driver: "virtserialport", id: port, chardev: port, name }, options);
    }
    while (!await isConnected(qmp, slot, options)) await sleep(ACCEPT_PAUSE_MS, options.signal);
    return slot;
  } catch (error) {
    closePorts(slot);
    await unplugPorts(qmp, [id], { ...options, signal: undefined }).catch(() => {});
    throw error;
  }
}

async function isConnected(qmp: QmpClient, { id, ports }: Slot, options: WaitOptions): Promise<boolean> {
  const chardevs = await chardevsOf(qmp, options);
  return Object.keys(ports).every((kind) => chardevs.get(`${id}.${kind}`));
}

/** Lets go of the other ends. */
export function closePorts({ ports }: Slot): void {
  for (const { connection } of Object.values(ports)) {
    try {
      connection.close();
    } catch {
      // it is closed already
    }
  }
}

/** Unplugs the ports of these slots. The guest need not help: whatever it still wants to read or write fails. */
export async function unplugPorts(qmp: QmpClient, slots: string[], options: WaitOptions): Promise<void> {
  const isOne = (id: string) => slots.some((slot) => id.startsWith(`${slot}.`));
  if (slots.length === 0) return;
  for (const id of (await devicesOf(qmp, options)).filter(isOne)) {
    const deleted = qmp.waitForEvent(
      ({ event, data }) => event === "DEVICE_DELETED" && data.device === id,
      `QEMU, asked to unplug the port ${id},`,
      { timeoutMs: UNPLUG_MS, ...options },
    );
    await qmp.execute("device_del", { id }, options);
    await deleted;
  }
  for (const id of [...(await chardevsOf(qmp, options)).keys()].filter(isOne)) {
    await qmp.execute("chardev-remove", { id }, options);
  }
}

/** The sockets of all slots by id, and whether somebody is connected. */
async function chardevsOf(qmp: QmpClient, options: WaitOptions): Promise<Map<string, boolean>> {
  const all = await qmp.execute<{ label: string; filename: string }[]>("query-chardev", {}, options);
  const own = all.filter(({ label }) => isPort(label));
  return new Map(own.map(({ label, filename }) => [label, !filename.startsWith("disconnected:")]));
}

async function devicesOf(qmp: QmpClient, options: WaitOptions): Promise<string[]> {
  const all = await qmp.execute<{ name: string }[]>("qom-list", { path: "/machine/peripheral" }, options);
  return all.map(({ name }) => name).filter(isPort);
}

function isPort(id: string): boolean {
  return SLOTS.some((slot) => id.startsWith(`${slot}.`));
}
