import { print, printError, printJson } from "../ui/console.ts";
import { lookOf, renderTimelines } from "../ui/timeline.ts";
import type { Command } from "./command.ts";
import { emulatorOf, ENGINE_FLAG, engineOption } from "./context.ts";
import { NO_FALLBACK_FLAG } from "./starting.ts";

export const command: Command = {
  about: "Boot the emulator once, wait until it is healthy, and save a snapshot, which 'start' resumes.\n" +
    "The new snapshot replaces earlier ones, except the last two with other settings and those that an instance uses.",
  activity: "capturing",
  examples: [
    "hotboot capture",
    "hotboot capture --force --engine mapped-ram",
  ],
  flags: [
    {
      name: "force",
      short: "f",
      variable: "EMULATOR_FORCE_CAPTURE",
      summary: "capture even if there is a snapshot to resume",
    },
    ENGINE_FLAG,
    NO_FALLBACK_FLAG,
  ],
  usesPorts: true,
  spares: (_, wanted) => wanted,
  async run(context) {
    const { capture } = await import("../../emulator/capture.ts");
    const emulator = await emulatorOf(context);
    const { switches } = context.args;
    const { snapshot, captured, timeline } = await capture(emulator, {
      force: switches.has("force"),
      engine: engineOption(context.args),
      noFallback: switches.has("no-fallback"),
    });
    if (switches.has("json")) await printJson({ snapshot, captured, timeline });
    else {
      if (captured && !switches.has("quiet")) {
        await printError(renderTimelines([{ title: "captured in", phases: timeline }], lookOf(Deno.stderr)));
      }
      await print(captured ? snapshot : `${snapshot} (up to date)`);
    }
    const { refillSpares } = await import("../../emulator/spares.ts");
    await refillSpares(emulator);
  },
};
