/** The machine on which something was measured. */

import { cpus, totalmem } from "node:os";
import { findQemu, probeQemu } from "../../lib/vm/probe.ts";
import { HOST_ARCH } from "../../lib/vm/arch.ts";

/** What decides how fast things are there, and nothing that tells whose it is. */
export interface Machine {
  cpu: string;
  cores: number;
  arch: string;
  /** GiB. */
  memory: number;
  system: string;
  qemu: string;
  accelerator: string;
  deno: string;
}

/** Looks at this one. */
export async function thisMachine(): Promise<Machine> {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-bench-" });
  try {
    const cache = { facts: `${directory}/facts.json`, guest: `${directory}/guest.bin` };
    const { version, accelerator } = await probeQemu(await findQemu(HOST_ARCH), HOST_ARCH, cache);
    return {
      cpu: cpus()[0]?.model.trim() || "unknown",
      cores: navigator.hardwareConcurrency,
      arch: HOST_ARCH,
      memory: Math.round(totalmem() / 2 ** 30),
      system: await systemName(),
      qemu: version,
      accelerator,
      deno: Deno.version.deno,
    };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function systemName(): Promise<string> {
  const release = await Deno.readTextFile("/etc/os-release").catch(() => "");
  return release.match(/^PRETTY_NAME="?([^"\n]+)/m)?.[1] ?? `${Deno.build.os} ${Deno.osRelease()}`;
}
