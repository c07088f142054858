import type { StopOptions, StopResult } from "../../emulator/stop.ts";
import type { Emulator } from "../../instance/emulator.ts";
import { printError, printJson } from "../ui/console.ts";
import { type Command, type CommandContext, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { FAILURE, OK } from "./outcome.ts";

export const command: Command = {
  trust: "ends",
  about: "Suspend the instance: save its memory and disk. The next start continues exactly there.\n" +
    "With --all, the exit code is 0 only if every running instance of the profile was stopped.",
  activity: "stopping",
  examples: [
    "hotboot stop",
    "hotboot stop --discard  # the next start begins from the snapshot",
    "hotboot stop --all",
  ],
  flags: [
    { name: "shutdown", summary: "shut the guest down and save only its disk; the next start boots it" },
    { name: "discard", summary: "switch it off and drop its disk; the next start begins from the snapshot" },
    { name: "all", short: "a", summary: "stop all instances of the profile that run in this home" },
  ],
  async run(context) {
    const { stop } = await import("../../emulator/stop.ts");
    const { switches, values } = context.args;
    if (switches.has("shutdown") && switches.has("discard")) {
      throw new UsageError("--shutdown and --discard contradict each other: choose one");
    }
    const all = switches.has("all");
    if (all && values.instance !== undefined) {
      throw new UsageError("--all and --instance contradict each other: choose one");
    }
    const emulator = await emulatorOf(context);
    const how = switches.has("discard") ? "discard" : switches.has("shutdown") ? "shutdown" : "suspend";
    if (all) return await stopAllOf(context, emulator, { how });
    const result = await stop(emulator, { how });
    if (switches.has("json")) return await printJson(result);
    emulator.report.step(describe(emulator.instance, result));
  },
};

async function stopAllOf(context: CommandContext, emulator: Emulator, options: StopOptions): Promise<number> {
  const { stopAll } = await import("../../emulator/stop_all.ts");
  const { report, profile } = emulator;
  const result = await stopAll(emulator, options);
  const { stopped, failed, others } = result;
  if (context.args.switches.has("json")) await printJson(result);
  else {
    for (const { instance, kept } of stopped) {
      report.step(`instance '${instance}': ${describe(instance, { stopped: true, kept })}`);
    }
    if (stopped.length + failed.length === 0) report.step(`no instance of profile '${profile.name}' runs`);
    if (others > 0) report.step(`${others} ${others === 1 ? "instance" : "instances"} of other profiles not touched`);
  }
  for (const { instance, why } of failed) await printError(`hotboot: instance '${instance}' was not stopped: ${why}`);
  return failed.length > 0 ? FAILURE : OK;
}

function describe(instance: string, { stopped, kept }: StopResult): string {
  if (!stopped) return `instance '${instance}' does not run${kept ? `; it is ${kept}` : ""}`;
  if (kept === "suspended") return "suspended; the next start continues where it was";
  if (kept === "crashed") return "switched off; the next start boots its disk, as after a power cut";
  if (kept) return "shut down; the next start boots its disk";
  return "switched off; the next start begins from the snapshot, without later changes";
}
