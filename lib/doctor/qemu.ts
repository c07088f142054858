/** QEMU, what it can do here, and how it runs a guest's CPUs. */

import { qemuFacts } from "../instance/acceleration.ts";
import type { Emulator } from "../instance/emulator.ts";
import { isAcceleratorNamed } from "../instance/watch.ts";
import { engineOf } from "../snapshot/engines.ts";
import type { Engine } from "../snapshot/manifest.ts";
import { type Arch, HOST_ARCH } from "../vm/arch.ts";
import { findQemu, type QemuFacts } from "../vm/probe.ts";
import type { Finding } from "./finding.ts";

const ENGINES: Engine[] = ["instant", "mapped-ram"];
/** A trial that is over so much sooner than emulation's shows no more than that. */
const MOST = 100;

/**
 * Asks QEMU as a start that boots does.
 *
 * @param isHomeUsable Otherwise the answer could not be remembered, so QEMU is only looked for.
 * @throws {HostError} if there is none that works.
 */
export async function examineQemu(
  emulator: Emulator,
  isHomeUsable: boolean,
): Promise<{ findings: Finding[]; facts?: QemuFacts }> {
  const program = await findQemu(emulator.arch);
  if (!isHomeUsable) {
    return { findings: [{ id: "qemu", mark: "info", title: "QEMU", reason: `${program}, not asked what it can do` }] };
  }
  const facts = await qemuFacts(emulator, {}, { again: true });
  return { facts, findings: [await judgeQemu(facts), ...judgeAccelerators(facts, emulator.arch)] };
}

/** Its version, and the engines that it can be used with. */
export async function judgeQemu({ program, version }: QemuFacts): Promise<Finding> {
  const all = await Promise.all(
    ENGINES.map(async (name) => ({ name, why: (await engineOf(name)).impossible(version) })),
  );
  const can = all.filter(({ why }) => why === undefined).map(({ name }) => name);
  const cannot = all.flatMap(({ why }) => why ?? []);
  const engines = `${can.length === 1 ? "engine" : "engines"} ${can.join(" and ")}`;
  const reason = `${version}, ${program}; ${engines}${cannot.length > 0 ? ` (${cannot.join("; ")})` : ""}`;
  return { id: "qemu", mark: "ok", title: "QEMU", reason };
}

/** How guests' CPUs run. */
export function judgeAccelerators(facts: QemuFacts, arch: Arch): Finding[] {
  const { accelerator, passedOver, slowdown, speed } = facts;
  const about = (name: string) => ({ id: `accelerator.${name}`, title: "accelerator" });
  const here = about(accelerator);
  if (slowdown !== undefined) {
    const reason = `${accelerator}, which HOTBOOT_ACCEL names, is ${times(slowdown)} times slower than emulation here`;
    return [{ ...here, mark: "warn", reason, fix: "unset HOTBOOT_ACCEL" }];
  }
  if (accelerator !== "tcg") {
    const how = speed === undefined ? "" : `, ${times(speed)} times as fast as emulation`;
    return [{ ...here, mark: "ok", reason: `${accelerator} works${how}` }];
  }
  if (arch !== HOST_ARCH) {
    const reason =
      `${accelerator} emulates the ${arch} guest's CPUs on this ${HOST_ARCH} host, which is many times slower`;
    return [{ ...here, mark: "warn", reason, fix: `use --arch ${HOST_ARCH} if there is such an image` }];
  }
  const why = isAcceleratorNamed() ? ", as HOTBOOT_ACCEL says" : "";
  const emulation: Finding = {
    ...here,
    mark: "ok",
    reason: `${accelerator} works: it emulates the guest's CPUs${why}`,
  };
  if (!passedOver) return [emulation];
  const { accelerator: hardware, why: whyNot, remedy } = passedOver;
  return [{ ...about(hardware), mark: "warn", reason: `${hardware} is not used: ${whyNot}`, fix: remedy }, emulation];
}

function times(factor: number): string {
  if (!(factor <= MOST)) return `more than ${MOST}`;
  return factor.toFixed(factor < 10 ? 1 : 0);
}
