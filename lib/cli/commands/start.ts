import type { StartResult } from "../../emulator/start_result.ts";
import type { Emulator } from "../../instance/emulator.ts";
import { print, printError, printJson } from "../ui/console.ts";
import { lookOf, renderTimelines } from "../ui/timeline.ts";
import type { Command, CommandContext } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { CONFIG_FILE_FLAG, FROM_FLAG, KEEP_SECRETS_FLAG, START_FLAGS, startOptions } from "./starting.ts";

export const command: Command = {
  about:
    "Start the emulator, and return when it is healthy. A suspended instance continues where it was. An instance that\n" +
    "was shut down or crashed boots its own disk. A new instance resumes the newest snapshot that fits, or boots if\n" +
    "there is none. The first start also gets the image and captures a snapshot. Each resume and each boot makes new\n" +
    "secrets, which 'hotboot credentials' prints.\n" +
    "'start' prints the addresses of the services. With --config-file it prints only the project's id and keys, as JSON.",
  activity: "starting",
  examples: [
    "hotboot start --profile demo",
    "hotboot start --instance other --port backend=9001",
    "hotboot start --from with-data",
  ],
  flags: [...START_FLAGS, FROM_FLAG, KEEP_SECRETS_FLAG, CONFIG_FILE_FLAG],
  usesPorts: true,
  async run(context) {
    const { start } = await import("../../emulator/start.ts");
    const emulator = await emulatorOf(context);
    const { "config-file": configFile } = context.args.values;
    const project = configFile === undefined ? undefined : await import("../../emulator/project.ts");
    await project?.requireConfigFile(emulator, configFile!); // before anything is started
    const result = await start(emulator, startOptions(context.args, emulator.profile));
    if (!project) return await printStarted(context, emulator, result);
    await printTimeline(context, emulator, result);
    await printJson(await project.openProject(emulator, configFile!));
  },
};

/** Where the time of a start went, and where the services are. */
export async function printStarted(context: CommandContext, emulator: Emulator, result: StartResult): Promise<void> {
  if (context.args.switches.has("json")) await printJson(result);
  else await printPlain(context, emulator, result);
}

/** The same for an instance that a program asks for: JSON has the variables for programs too, with secrets, in one line. */
export async function printForProgram(context: CommandContext, emulator: Emulator, result: StartResult): Promise<void> {
  if (!context.args.switches.has("json")) return await printPlain(context, emulator, result);
  const { environment } = await import("../../emulator/environment.ts");
  await printJson({ ...result, env: await environment(emulator) }, { oneLine: true });
}

async function printPlain(context: CommandContext, emulator: Emulator, result: StartResult): Promise<void> {
  await printTimeline(context, emulator, result);
  for (const [name, url] of Object.entries(result.urls)) await print(`${name} ${url}`);
}

async function printTimeline(context: CommandContext, { instance }: Emulator, result: StartResult): Promise<void> {
  if (context.args.switches.has("quiet")) return;
  await printError(
    result.origin
      ? renderTimelines([{ title: titleOf(result), phases: result.timeline }], lookOf(Deno.stderr))
      : `hotboot: instance '${instance}' is already running`,
  );
}

/** What took the time: `resume`; at the first start also `image` and `capture`. */
function titleOf({ origin, timeline }: StartResult): string {
  const before = ["image", "capture"].filter((step) => timeline.some(({ name }) => name === step));
  return [...before, origin].join(", ");
}
