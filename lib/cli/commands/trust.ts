import { printJson } from "../ui/console.ts";
import type { Command } from "./command.ts";

/** The launcher has done it before this runs. */
export const command: Command = {
  about:
    "Trust the project's hotboot.json as it is now: show what it runs, shares and reads here and where it connects, and\n" +
    "record that you allow it. When it changes, or a file that it names, it must be trusted again. A profile that you name\n" +
    "with --profile needs no trust.",
  examples: [
    "hotboot trust",
    "hotboot trust --remove",
  ],
  flags: [{ name: "remove", summary: "no longer trust it" }],
  async run({ args: { switches }, emulator }) {
    if (!switches.has("json")) return;
    await printJson({ profile: emulator!.profile.url.pathname, trusted: !switches.has("remove") });
  },
};
