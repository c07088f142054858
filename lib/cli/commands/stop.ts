import type { StopResult } from "../../emulator/stop.ts";
import { printJson } from "../ui/console.ts";
import { type Command, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  about: "Suspend the instance: save its memory and disk. The next start continues exactly there.",
  flags: [
    { name: "shutdown", summary: "shut the guest down and save only its disk; the next start boots it" },
    { name: "discard", summary: "switch it off and drop its disk; the next start begins from the snapshot" },
  ],
  async run(context) {
    const { stop } = await import("../../emulator/stop.ts");
    const { switches } = context.args;
    if (switches.has("shutdown") && switches.has("discard")) {
      throw new UsageError("--shutdown and --discard contradict each other: choose one");
    }
    const emulator = await emulatorOf(context);
    const how = switches.has("discard") ? "discard" : switches.has("shutdown") ? "shutdown" : "suspend";
    const result = await stop(emulator, { how });
    if (switches.has("json")) return await printJson(result);
    emulator.report.step(describe(emulator.instance, result));
  },
};

function describe(instance: string, { stopped, kept }: StopResult): string {
  if (!stopped) return `instance '${instance}' does not run${kept ? `; it is ${kept}` : ""}`;
  if (kept === "suspended") return "suspended; the next start continues where it was";
  if (kept === "crashed") return "switched off; the next start boots its disk, as after a power cut";
  if (kept) return "shut down; the next start boots its disk";
  return "switched off; the next start begins from the snapshot, without later changes";
}
