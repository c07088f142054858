/** The host's ports of one instance: the profile's, or those that are remembered in its directory. */

import { writeJson } from "../base/files.ts";
import type { Port, Profile } from "../profile/profile.ts";
import { type Home, ownDirectory } from "./home.ts";

/** Ports by their names; `asked`: somebody has named the port, so that no other takes its place. */
export type RememberedPorts = Record<string, { port: number; asked?: boolean }>;

/** A port of TCP that can be listened on. */
export function isPort(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65_535;
}

/** What is remembered; nothing where that cannot be understood, or may not be read. */
export async function rememberedPorts(home: Home, instance: string): Promise<RememberedPorts> {
  const path = pathOf(home, instance);
  const { state } = await Deno.permissions.query({ name: "read", path });
  if (state !== "granted") return {};
  const found: unknown = await Deno.readTextFile(path).then(JSON.parse).catch(() => ({}));
  return Object.fromEntries(
    Object.entries(Object(found)).filter(([, value]) => isPort(Object(value).port)),
  ) as RememberedPorts;
}

/** Writes it down: it stays until the instance is reset. */
export async function rememberPorts(home: Home, instance: string, ports: RememberedPorts): Promise<void> {
  await ownDirectory(home.instance(instance));
  await writeJson(pathOf(home, instance), ports, { flush: true });
}

/** The profile's ports, with the remembered ones of the host in the place of the profile's. */
export function withRemembered({ ports }: Profile, remembered: RememberedPorts): Record<string, Port> {
  return portsNow(ports, Object.fromEntries(Object.entries(remembered).map(([name, { port }]) => [name, port])));
}

/** Ports, with these ones of the host in the place of theirs. */
export function portsNow(ports: Record<string, Port>, hosts: Record<string, number>): Record<string, Port> {
  return Object.fromEntries(
    Object.entries(ports).map(([name, port]) => [name, { ...port, host: hosts[name] ?? port.host }]),
  );
}

function pathOf(home: Home, instance: string): string {
  return `${home.instance(instance)}/ports.json`;
}
