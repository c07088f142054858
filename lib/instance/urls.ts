/** The addresses of an instance's services. */

import { fill } from "../base/fill.ts";
import { portValue } from "../profile/references.ts";
import type { Emulator } from "./emulator.ts";
import { portsNow } from "./ports.ts";
import type { InstanceRecord } from "./record.ts";

/** Their URLs, as the profile defines them, by the names of its ports. */
export function urlsOf({ profile }: Emulator, { ports, profile: name }: InstanceRecord): Record<string, string> {
  const known = profile.name === name ? profile.ports : {};
  const now = portsNow(known, ports);
  const urlOf = (name: string, port: number) => {
    const url = known[name]?.url;
    return url ? fill(url, (variable) => portValue(now, variable)) : `http://127.0.0.1:${port}`;
  };
  return Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, urlOf(name, port)]));
}
