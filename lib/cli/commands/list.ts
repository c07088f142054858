import type { InstanceInfo } from "../../emulator/list.ts";
import { formatBytes } from "../../base/format.ts";
import { printError, printJson } from "../ui/console.ts";
import { age, type Cell, printTable } from "../ui/table.ts";
import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { HOW, paintedState } from "./status.ts";

export const command: Command = {
  trust: "looks",
  about:
    "List all instances of the home, of every profile: their state, how long ago they were started or ended, what they take\n" +
    "on the disk, and where the services of those that run are.",
  activity: "looking at the instances",
  examples: [
    "hotboot list",
    "hotboot list --json",
  ],
  flags: [{ name: "details", summary: "also the health of the profile's instances, and the memory of all that run" }],
  async run(context) {
    const { listInstances } = await import("../../emulator/list.ts");
    const details = context.args.switches.has("details");
    const emulator = await emulatorOf(context);
    const instances = await listInstances(emulator, { details });
    if (context.args.switches.has("json")) return await printJson(instances);
    if (instances.length === 0) {
      return await printError(`hotboot: there are no instances in ${emulator.home.root}: 'hotboot start' makes one`);
    }
    await printTable(["instance", "profile", "state", "since", "on disk", "services"], instances.map(row));
  },
};

function row({ instance, profile, arch, state, why, running, ended, bytes }: InstanceInfo): Cell[] {
  const since = running ? `${HOW[running.origin]} ${age(running.started)} ago` : ended ? `${age(ended)} ago` : "-";
  const services = Object.entries(running?.urls ?? {}).map(([name, url]) => `${name} ${url}`);
  const last = [...services, ...detailsOf(running), ...why === undefined ? [] : [why]].join(", ") || "-";
  return [instance, profile ? `${profile} ${arch}` : "-", paintedState(state), since, formatBytes(bytes), last];
}

function detailsOf({ health = {}, memory }: Partial<NonNullable<InstanceInfo["running"]>> = {}): string[] {
  const checks = Object.entries(health).map(([name, isHealthy]) => `${name} ${isHealthy ? "healthy" : "not healthy"}`);
  const sizes = memory && `memory ${formatBytes(memory.own)} own, ${formatBytes(memory.shared)} shared`;
  return [...checks, ...sizes ? [sizes] : []];
}
