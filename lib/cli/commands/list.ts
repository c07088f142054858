import type { InstanceInfo } from "../../emulator/list.ts";
import { formatBytes } from "../../base/format.ts";
import { print, printError, printJson } from "../ui/console.ts";
import { age, renderTable } from "../ui/table.ts";
import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { HOW } from "./status.ts";

export const command: Command = {
  needsNoTrust: true,
  about:
    "List all instances of the home, of every profile: their state, how long ago they were started or ended, what they take\n" +
    "on the disk, and where the services of those that run are.",
  flags: [{ name: "details", summary: "also the health of the profile's instances, and the memory of all that run" }],
  async run(context) {
    const { listInstances } = await import("../../emulator/list.ts");
    const details = context.args.switches.has("details");
    const instances = await listInstances(await emulatorOf(context), { details });
    if (context.args.switches.has("json")) return await printJson(instances);
    if (instances.length === 0) return await printError("hotboot: there are no instances: 'hotboot start' makes one");
    await print(renderTable(["instance", "profile", "state", "since", "on disk", "services"], instances.map(row)));
  },
};

function row({ instance, profile, arch, state, why, running, ended, bytes }: InstanceInfo): string[] {
  const since = running ? `${HOW[running.origin]} ${age(running.started)} ago` : ended ? `${age(ended)} ago` : "-";
  const services = Object.entries(running?.urls ?? {}).map(([name, url]) => `${name} ${url}`);
  const last = [...services, ...detailsOf(running), ...why === undefined ? [] : [why]].join(", ") || "-";
  return [instance, profile ? `${profile} ${arch}` : "-", state, since, formatBytes(bytes), last];
}

function detailsOf({ health = {}, memory }: Partial<NonNullable<InstanceInfo["running"]>> = {}): string[] {
  const checks = Object.entries(health).map(([name, isHealthy]) => `${name} ${isHealthy ? "healthy" : "not healthy"}`);
  const sizes = memory && `memory ${formatBytes(memory.own)} own, ${formatBytes(memory.shared)} shared`;
  return [...checks, ...sizes ? [sizes] : []];
}
