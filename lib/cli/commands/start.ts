import { print, printError, printJson } from "../ui/console.ts";
import { renderTimelines } from "../ui/timeline.ts";
import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { CONFIG_FILE_FLAG, START_FLAGS, startOptions } from "./starting.ts";

export const command: Command = {
  about: "Start the emulator and return when it is healthy: resume its snapshot or, where that cannot be, boot it.\n" +
    "The first start obtains the image and captures the snapshot. Each start has its own secrets. Prints the services'\n" +
    "addresses; 'hotboot credentials' prints the secrets. With --config-file prints nothing but what the guest answers to\n" +
    "the profile's project request, as JSON: the project's id and keys.",
  flags: [...START_FLAGS, CONFIG_FILE_FLAG],
  async run(context) {
    const { start } = await import("../../emulator/start.ts");
    const emulator = await emulatorOf(context);
    const { switches, values: { "config-file": configFile } } = context.args;
    const project = configFile === undefined ? undefined : await import("../../emulator/project.ts");
    await project?.requireConfigFile(emulator, configFile!); // before anything is started
    const result = await start(emulator, startOptions(context.args));
    if (switches.has("json") && !project) return await printJson(result);
    if (!switches.has("quiet")) {
      await printError(
        result.origin
          ? renderTimelines([{ title: result.origin, phases: result.timeline }])
          : `hotboot: instance '${emulator.instance}' runs already`,
      );
    }
    if (project) return await printJson(await project.openProject(emulator, configFile!));
    for (const [name, url] of Object.entries(result.urls)) await print(`${name} ${url}`);
  },
};
