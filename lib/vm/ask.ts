/**
 * Asking a QEMU what it is, in one go: everything is sent at once, and the last command is to quit. So QEMU ends by itself,
 * even if this program dies meanwhile.
 *
 * Source: QEMU's documentation, "QEMU QMP Reference Manual".
 */

import { toText } from "@std/streams/to-text";
import { HotbootError } from "../base/error.ts";
import { sha256 } from "../base/hash.ts";
import { type WaitOptions, within } from "../base/wait.ts";
import { APART } from "./apart.ts";
import type { Candidate } from "./accelerator.ts";
import { versionOf } from "./qmp.ts";

/** What QEMU answers. */
export interface Answers {
  /** Its version: `7.2.22`. */
  version: string;
  /** The versioned machine type behind the general name. */
  machineType: string;
  /** All versioned machine types of that kind. */
  machineTypes: string[];
  /** A digest of the CPU's features. */
  cpuFeatures: string;
}

/**
 * The commands, by the names of their answers. On Arm, QEMU expands the model `host` only with KVM (target/arm/arm-qmp-cmds.c),
 * so the CPU itself is asked which one it is, too: the first device of the board.
 */
const questions = (cpuModel: string): Record<string, unknown> => ({
  capabilities: { execute: "qmp_capabilities" },
  machines: { execute: "query-machines" },
  features: { execute: "query-cpu-model-expansion", arguments: { type: "full", model: modelOf(cpuModel) } },
  midr: { execute: "qom-get", arguments: { path: "/machine/unattached/device[0]", property: "midr" } },
  end: { execute: "quit" },
});

/** A CPU as `-cpu` takes it, as the monitor does. */
function modelOf(text: string): { name: string; props: Record<string, boolean> } {
  const [name, ...properties] = text.split(",");
  return { name, props: Object.fromEntries(properties.map((each) => [each.split("=")[0], each.endsWith("=on")])) };
}

/**
 * Starts QEMU as for a guest, but without one, and asks it. That QEMU has ended when this returns, however it does.
 *
 * @throws {HotbootError} with QEMU's own words if it does not start, or does not answer.
 */
export async function ask(
  { program, machine, accelerator, cpuModel }: Candidate,
  limits: WaitOptions,
): Promise<Answers> {
  limits.signal?.throwIfAborted();
  const child = new Deno.Command(program, {
    args: [
      ...["-machine", machine, "-accel", accelerator, "-cpu", cpuModel, "-S"],
      ...["-nodefaults", "-no-user-config", "-display", "none", "-qmp", "stdio"],
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    ...APART,
  }).spawn();
  const said = Promise.all([toText(child.stdout), toText(child.stderr)]);
  try {
    const lines = Object.entries(questions(cpuModel)).map(([id, command]) =>
      JSON.stringify({ ...command as object, id })
    );
    const writer = child.stdin.getWriter();
    writer.write(new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""))).catch(() => {}); // it may be ending
    const [stdout, stderr] = await within(said, "QEMU", limits);
    await writer.close().catch(() => {});
    return await understood(stdout, machine) ?? refuse(stderr, await child.status);
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // it has ended
    }
    await Promise.all([child.status, said.catch(() => {})]);
  }
}

function refuse(stderr: string, { signal }: Deno.CommandStatus): never {
  const words = stderr.trim().replace(/^\S+: /, "");
  throw new HotbootError(words || (signal ? `${signal} ended it` : "it ended without an answer"));
}

/** What is in QEMU's lines; `undefined` if it did not come to the end. */
async function understood(stdout: string, machine: string): Promise<Answers | undefined> {
  const answers: Record<string, unknown> = {};
  let version: string | undefined;
  for (const line of stdout.split("\n").filter((line) => line.trim() !== "")) {
    const { QMP, id, return: answer } = JSON.parse(line);
    if (QMP) version = versionOf(QMP.version.qemu);
    if (id && answer !== undefined) answers[id] = answer;
  }
  const machines = answers.machines as { name: string; alias?: string }[] | undefined;
  if (version === undefined || !machines) return undefined;
  const machineType = machines.find(({ alias, name }) => alias === machine || name === machine)?.name ?? machine;
  const kind = machineType.replace(/[\d.]+$/, ""); // pc-q35-
  const machineTypes = machines.map(({ name }) => name).filter((name) => name.startsWith(kind));
  return { version, machineType, machineTypes, cpuFeatures: await sha256(featuresIn(answers)) };
}

/** The CPU's features as a text, which differs for another CPU. */
function featuresIn({ features, midr }: Record<string, unknown>): string {
  const properties = (features as { model: { props: Record<string, unknown> } } | undefined)?.model.props ??
    (midr === undefined ? undefined : { midr });
  if (!properties) return "unknown"; // no reason not to use it
  return Object.entries(properties).map((each) => each.join("=")).sort().join();
}
