import { secretLines } from "../../profile/secrets.ts";
import { print, printJson } from "../ui/console.ts";
import { printTable } from "../ui/table.ts";
import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  trust: "looks",
  about: "Print the instance's own secrets. A new start may replace them. Dropping the instance removes them.",
  examples: [
    "hotboot credentials",
    "hotboot credentials --env > .env.local",
    "hotboot credentials --json --instance other",
  ],
  flags: [{ name: "env", summary: "print them as NAME=value lines" }],
  async run(context) {
    const { credentials } = await import("../../guest/rotate.ts");
    const secrets = await credentials(await emulatorOf(context));
    const { switches } = context.args;
    if (switches.has("json")) await printJson(secrets);
    else if (switches.has("env")) await print(secretLines(secrets).trimEnd());
    else await printTable(["secret", "value"], Object.entries(secrets));
  },
};
