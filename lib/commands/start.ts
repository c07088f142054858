import { print, printError, printJson } from "../ui/console.ts";
import { renderTimelines } from "../ui/timeline.ts";
import type { Command } from "./command.ts";
import { emulatorOf, ENGINE_FLAG, engineOption } from "./context.ts";

export const command: Command = {
  about: "Start the emulator and return when it is healthy: resume its snapshot or, where that cannot be, boot it.\n" +
    "The first start obtains the image and captures the snapshot. Each start has its own secrets. Prints the services'\n" +
    "addresses; 'hotboot credentials' prints the secrets.",
  flags: [
    { name: "cold", variable: "EMULATOR_NO_SNAPSHOT", summary: "boot, and neither use nor make a snapshot" },
    { name: "no-fallback", summary: "fail, instead of booting, when the snapshot cannot be resumed" },
    { name: "no-capture", summary: "make no snapshot where there is none that can be resumed" },
    ENGINE_FLAG,
    {
      name: "no-rotation",
      variable: "EMULATOR_NO_ROTATION",
      summary: "leave the image's placeholders in the place of secrets",
    },
  ],
  async run(context) {
    const { start } = await import("../emulator/start.ts");
    const emulator = await emulatorOf(context);
    const { switches } = context.args;
    const result = await start(emulator, {
      cold: switches.has("cold"),
      noFallback: switches.has("no-fallback"),
      noCapture: switches.has("no-capture"),
      engine: engineOption(context.args),
      noRotation: switches.has("no-rotation"),
    });
    if (switches.has("json")) return await printJson(result);
    if (!switches.has("quiet")) {
      await printError(
        result.origin
          ? renderTimelines([{ title: result.origin, phases: result.timeline }])
          : `hotboot: instance '${emulator.instance}' runs already`,
      );
    }
    for (const [name, url] of Object.entries(result.urls)) await print(`${name} ${url}`);
  },
};
