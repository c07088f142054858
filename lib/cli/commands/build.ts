import { print, printJson } from "../ui/console.ts";
import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  about: "Build the profile's image, unless it was already built with the same recipe.",
  activity: "building the image",
  examples: [
    "hotboot build",
    "hotboot build --force --profile ./hotboot.json",
  ],
  flags: [{ name: "force", short: "f", summary: "build even if the image is up to date" }],
  async run(context) {
    const { build } = await import("../../image/build.ts");
    const emulator = await emulatorOf(context);
    const { image, built } = await build(emulator, { force: context.args.switches.has("force") });
    if (context.args.switches.has("json")) {
      await printJson({ built, paths: image.paths, ...image.record });
    } else {
      await print(built ? image.paths.disk : `${image.paths.disk} (up to date)`);
    }
  },
};
