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
  flags: [],
  async run(context) {
    const { listInstances } = await import("../../emulator/list.ts");
    const emulator = await emulatorOf(context);
    const instances = await listInstances(emulator);
    if (context.args.switches.has("json")) return await printJson(instances);
    if (instances.length === 0) {
      return await printError(`hotboot: there are no instances in ${emulator.home.root}: 'hotboot start' makes one`);
    }
    await print(renderTable(["instance", "profile", "state", "since", "on disk", "services"], instances.map(row)));
  },
};

function row({ instance, profile, arch, state, why, running, ended, bytes }: InstanceInfo): string[] {
  const since = running ? `${HOW[running.origin]} ${age(running.started)} ago` : ended ? `${age(ended)} ago` : "-";
  const services = Object.entries(running?.urls ?? {}).map(([name, url]) => `${name} ${url}`);
  const last = [...services, ...why === undefined ? [] : [why]].join(", ") || "-";
  return [instance, profile ? `${profile} ${arch}` : "-", state, since, formatBytes(bytes), last];
}
