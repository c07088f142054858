/** Finding QEMU and what it can do here, by asking the program itself. */

import { encodeHex } from "@std/encoding/hex";
import { toText } from "@std/streams/to-text";
import { HotbootError, messageOf } from "../error.ts";
import { type Arch, HOST_ARCH } from "./arch.ts";
import { onPath } from "../on_path.ts";
import { QmpClient } from "./qmp.ts";
import type { WaitOptions } from "../wait.ts";

/** What a QEMU program turned out to be and to offer on this host. */
export interface QemuFacts {
  /** Its absolute path. */
  program: string;
  /** Its version: `7.2.22`. */
  version: string;
  /** The versioned machine type behind the general name: `pc-q35-7.2`. */
  machineType: string;
  /** All versioned machine types of that kind which it offers, for snapshots of other versions. */
  machineTypes: string[];
  /** The accelerator that works: `kvm`, `hvf` or `tcg`. */
  accelerator: string;
  /** The CPU model that goes with it, and its properties: `max,pauth-impdef=on`. */
  cpuModel: string;
  /** The CPU's features as QEMU sees them, as a digest: with kvm and hvf they are the host's. */
  cpuFeatures: string;
  /** Why a faster accelerator was passed over; empty when none was. */
  passedOver: string;
}

const PROGRAMS: Record<Arch, { program: string; machine: string; apt: string }> = {
  amd64: { program: "qemu-system-x86_64", machine: "q35", apt: "qemu-system-x86" },
  arm64: { program: "qemu-system-aarch64", machine: "virt", apt: "qemu-system-arm" },
};
/**
 * All that QEMU can emulate. Pointers' authentication codes, which Linux for arm64 makes at each call, take most of the
 * time when they are computed as the architecture recommends; those of QEMU's own kind are cheap.
 */
const EMULATED_CPU: Record<Arch, string> = { amd64: "max", arm64: "max,pauth-impdef=on" };
/** A hardware accelerator that did not work is tried again after this long; a group or module may have been added. */
const RETRY_AFTER_MS = 24 * 3600 * 1000;

/** QEMU's program for a guest architecture: `qemu-system-x86_64`. */
export function qemuProgram(arch: Arch): string {
  return PROGRAMS[arch].program;
}

/**
 * The absolute path of QEMU for a guest architecture, from `PATH`.
 *
 * @throws {HotbootError} when there is none, with the package to install.
 */
export async function findQemu(arch: Arch): Promise<string> {
  const { program, apt } = PROGRAMS[arch];
  const path = await onPath(program);
  if (path) return path;
  throw new HotbootError(
    `${program} is not on PATH: install QEMU ('apt install ${apt}', or 'brew install qemu' on macOS)`,
  );
}

/**
 * What `program` can do, remembered in `cacheFile` for as long as the program's file stays the same.
 *
 * @param choice An accelerator to use instead of the fastest that works, and a machine type instead of the newest.
 */
export async function probeQemu(
  program: string,
  arch: Arch,
  cacheFile: string,
  choice: { accelerator?: string; machineType?: string } = {},
  options: WaitOptions = {},
): Promise<QemuFacts> {
  const { accelerator, machineType = PROGRAMS[arch].machine } = choice;
  const { size, mtime } = await Deno.stat(program);
  const key = JSON.stringify([program, size, mtime, arch, accelerator ?? "", machineType]);
  try {
    const cached = JSON.parse(await Deno.readTextFile(cacheFile));
    const expired = cached.facts.passedOver && Date.now() - cached.time > RETRY_AFTER_MS;
    if (cached.key === key && !expired) return cached.facts;
  } catch {
    // none yet, or not readable: ask
  }
  const facts = await askQemu(program, arch, machineType, accelerator ? [accelerator] : candidates(arch), options);
  const temporary = `${cacheFile}.${crypto.randomUUID()}`;
  await Deno.writeTextFile(temporary, JSON.stringify({ key, time: Date.now(), facts }), { mode: 0o600 });
  await Deno.rename(temporary, cacheFile);
  return facts;
}

function candidates(arch: Arch): string[] {
  if (arch !== HOST_ARCH) return ["tcg"];
  return Deno.build.os === "darwin" ? ["hvf", "tcg"] : ["kvm", "tcg"];
}

async function askQemu(
  program: string,
  arch: Arch,
  machine: string,
  accelerators: string[],
  options: WaitOptions,
): Promise<QemuFacts> {
  const failures: string[] = [];
  for (const accelerator of accelerators) {
    const cpuModel = accelerator === "tcg" ? EMULATED_CPU[arch] : "host";
    try {
      const answer = await askWith(program, machine, accelerator, cpuModel, { timeoutMs: 20_000, ...options });
      return { program, accelerator, cpuModel, passedOver: failures.join("; "), ...answer };
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof Deno.errors.NotCapable) throw error; // that says nothing about the accelerator
      failures.push(`${accelerator}: ${messageOf(error).replaceAll("\n", "; ")}`);
    }
  }
  throw new HotbootError(`${program} does not start here (${failures.join("; ")})`);
}

/** A CPU as `-cpu` takes it, as the monitor does. */
function cpuModelOf(text: string): { name: string; props: Record<string, boolean> } {
  const [name, ...properties] = text.split(",");
  return { name, props: Object.fromEntries(properties.map((each) => [each.split("=")[0], each.endsWith("=on")])) };
}

/**
 * Starts QEMU as it will be started for a guest, but for the guest, and asks it: a device file proves nothing. That
 * QEMU has ended when this returns, however it does.
 */
async function askWith(program: string, machine: string, accelerator: string, cpuModel: string, limits: WaitOptions) {
  limits.signal?.throwIfAborted();
  const child = new Deno.Command(program, {
    args: [
      ...["-machine", machine, "-accel", accelerator, "-cpu", cpuModel, "-S"],
      ...["-nodefaults", "-no-user-config", "-display", "none", "-qmp", "stdio"],
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    detached: true,
  }).spawn();
  const stderr = toText(child.stderr);
  try {
    await using qmp = await QmpClient.open({ readable: child.stdout, writable: child.stdin }, limits);
    const machines = await qmp.execute<{ name: string; alias?: string }[]>("query-machines", {}, limits);
    const machineType = machines.find(({ alias, name }) => alias === machine || name === machine)?.name ?? machine;
    const kind = machineType.replace(/[\d.]+$/, ""); // pc-q35-
    const machineTypes = machines.map(({ name }) => name).filter((name) => name.startsWith(kind));
    const features = await qmp.execute<{ model: { props: Record<string, unknown> } }>(
      "query-cpu-model-expansion",
      { type: "full", model: cpuModelOf(cpuModel) },
      limits,
    );
    const text = Object.entries(features.model.props).map((entry) => entry.join("=")).sort().join();
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    await qmp.execute("quit");
    return { version: qmp.version, machineType, machineTypes, cpuFeatures: encodeHex(new Uint8Array(digest)) };
  } catch (error) {
    const said = (await Promise.race([stderr, Promise.resolve("")])).trim();
    throw said ? new HotbootError(said.replace(/^\S+: /, "")) : error;
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // it has ended
    }
    await child.status;
    await stderr.catch(() => {});
  }
}
