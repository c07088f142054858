/** What the shells can offer, drawn from the commands' own flags and operands. */

import { allFlags, type Command, type Completion, type Flag, type NamedCommand } from "../commands/command.ts";
import { BUILT_IN_PROFILES } from "../../profile/load.ts";

/** The names that `hotboot completions list` prints. */
export const NAMED = ["instances", "snapshots", "checkpoints", "sources"] as const;

/** What the words of the help stand for. */
const WORDS: Record<string, Completion> = {
  FILE: "files",
  PATH: "files",
  IMAGE: "files",
  DIR: "directories",
  ID: "snapshots",
  OLD: "checkpoints",
  SOURCE: "sources",
  CMD: "programs",
};

/** What an option's value can be, or a command's operands: some of these. */
export function offerOf({ completes, words }: { completes?: Completion; words: string }): Completion[] {
  if (completes === "profiles") return [BUILT_IN_PROFILES, "files"];
  if (completes !== undefined) return [completes];
  return Array.from(words.matchAll(/[A-Z]+/g), ([word]) => WORDS[word]).filter((each) => each !== undefined);
}

/** An option that one or several commands have, and what its value can be; none for a switch. */
export interface OfferedFlag {
  flag: Flag;
  offer: Completion[];
  commands: string[];
}

/** A verb or a subcommand, with its summary. */
export interface OfferedName {
  name: string;
  summary: string;
}

/** A command, and what its operands can be. */
export interface OfferedCommand {
  name: string;
  flags: Omit<OfferedFlag, "commands">[];
  operands: Completion[];
}

/** All that there is to offer. */
export interface Offer {
  verbs: OfferedName[];
  /** By the verb that they belong to. */
  subcommands: Map<string, OfferedName[]>;
  commands: OfferedCommand[];
  /** Each option once for all commands that have the same. */
  flags: OfferedFlag[];
}

/** Collects it. */
export function offerAll(all: NamedCommand[]): Offer {
  const shown = all.filter(({ command }) => !command.hidden);
  const verbs = new Map<string, string>();
  const subcommands = new Map<string, OfferedName[]>();
  for (const { name, summaries: [ofVerb, summary] } of shown) {
    const [verb, second] = name.split(" ");
    verbs.set(verb, ofVerb);
    if (second !== undefined) subcommands.set(verb, [...subcommands.get(verb) ?? [], { name: second, summary }]);
  }
  const commands = shown.map(({ name, command }) => offerOne(name, command, shown));
  const flags = new Map<string, OfferedFlag>();
  for (const { name, flags: own } of commands) {
    for (const { flag, offer } of own) {
      const key = JSON.stringify([flag.name, flag.short, flag.value, flag.summary, offer]);
      const known = flags.get(key);
      if (known) known.commands.push(name);
      else flags.set(key, { flag, offer, commands: [name] });
    }
  }
  return {
    verbs: Array.from(verbs, ([name, summary]) => ({ name, summary })),
    subcommands,
    commands,
    flags: [...flags.values()],
  };
}

function offerOne(name: string, command: Command, all: NamedCommand[]): OfferedCommand {
  const { completes, operands = "" } = command;
  const whole = completes === "commands" ? [...new Set(all.flatMap(({ name }) => name.split(" ")))] : completes;
  return {
    name,
    flags: allFlags(command).map((flag) => ({
      flag,
      offer: flag.value ? offerOf({ completes: flag.completes, words: flag.value }) : [],
    })),
    operands: offerOf({ completes: whole, words: operands }),
  };
}
