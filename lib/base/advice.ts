/** The commands that messages tell people to type. */

import { shellWord } from "./shell.ts";

/** The options that say which emulator is meant. */
const EMULATOR_OPTIONS = ["profile", "home", "instance", "arch"];

/** Commands that do not work on an emulator. */
const STANDALONE = /^'hotboot (?:init|iso|profile validate)\b| --help\b/;

/**
 * The text with these options added to each command in it, so that this one acts on the emulator that is meant:
 * `'hotboot reset' drops it` becomes `'hotboot reset --instance other' drops it`. Options that are there already stay.
 */
export function withOptions(text: string, options: Record<string, string>): string {
  return text.replaceAll(/'hotboot [^'\n]+'/g, (command) => {
    if (STANDALONE.test(command)) return command;
    const [, before, after] = command.match(/^(.*?)( -- .*|')$/)!;
    const missing = EMULATOR_OPTIONS.filter((name) => options[name] !== undefined && !before.includes(` --${name} `));
    return `${before}${missing.map((name) => ` --${name} ${shellWord(options[name])}`).join("")}${after}`;
  });
}

/** Does something with an instance that the user did not name: its name is added to the commands in the errors. */
export async function adviseOn<T>(instance: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error) error.message = withOptions(error.message, { instance });
    throw error;
  }
}
