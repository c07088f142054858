/** What a command is, and how to read its arguments. `help.ts` writes its help. */

import { parseArgs } from "@std/cli/parse-args";
import { didYouMean } from "../../base/closest.ts";
import { HotbootError, messageOf } from "../../base/error.ts";
import type { Interrupt } from "../interrupts.ts";
import { COLORS } from "../ui/display.ts";
import type { Asked } from "../../ui/ask.ts";
import type { LoadedProfile } from "../../profile/profile.ts";
import type { Login } from "../../oci/login.ts";
import type { Network } from "../../release/network.ts";
import type { Token } from "../../release/token.ts";
import { resolveArch } from "../../vm/arch.ts";

/** A wrong command line; the exit code is 2. */
export class UsageError extends HotbootError {
  override name = "UsageError";
}

/** An option: with a value called `value`, or a switch. */
export interface Flag {
  name: string;
  short?: string;
  value?: string;
  /** It may be given more than once: its value is all of them, with `separator` (by default a comma) in between. */
  repeats?: boolean;
  separator?: string;
  /** The environment variable to use if the option is not given. */
  variable?: string;
  /** Throws if the variable's value is wrong. */
  check?: (value: string) => unknown;
  /** What its value can be, for the shells; by default what its word in the help says, such as `FILE`. */
  completes?: Completion;
  summary: string;
}

/** What a shell offers for a word: fixed words, or what it asks hotboot or the system for. */
export type Completion =
  | readonly string[]
  | "commands"
  | "files"
  | "directories"
  | "programs"
  | "profiles"
  | "instances"
  | "snapshots"
  | "checkpoints"
  | "sources";

/** Arguments, read according to a command's flags. */
export interface Arguments {
  /** The values of the options that were given. */
  values: Record<string, string>;
  /** The switches that were given. */
  switches: Set<string>;
  /** Everything that is not an option. */
  operands: string[];
}

/** One verb. */
export interface Command {
  /** What follows the verb, apart from options: `IMAGE DIR`; absent if nothing does. */
  operands?: string;
  /** The first operand ends the options: the rest is a program's, and may look like options. */
  stopsEarly?: boolean;
  /** It does not work on an emulator, so it lacks the options that name one. */
  standalone?: boolean;
  /**
   * What makes do without trust in a profile that was found as it is now: the command only `looks` at what is there, or it
   * `ends` or removes it; then the profile must have been trusted once, under the same name.
   */
  trust?: "looks" | "ends";
  /** The arguments with what they imply: the name of a new instance, or another option. */
  implied?(args: Arguments): Arguments;
  /**
   * Finds out, before the sandbox begins, what takes the program's own permissions: which file is meant, and which variables
   * that names. Its result, which is data, goes to `run`.
   */
  prepare?(args: Arguments): Promise<unknown>;
  /** It uses the services' ports: those of the instance are chosen before it begins. */
  usesPorts?: boolean;
  /** How many spares it is to see to, of so many wanted ones: the ports to make them with are chosen before it begins. */
  spares?(args: Arguments, wanted: number): number;
  /** It shows the way to servers: that is found out for it even if it may connect to none. */
  showsNetwork?: boolean;
  /** Commands that it asks for: each runs in a sandbox of its own, with the permissions of its own row. */
  asksFor?: string[];
  /** What it does, in sentences. An empty line begins a paragraph; other line ends are those of the source. */
  about: string;
  /** Command lines as a user types them. Two spaces and `#` begin an explanation. */
  examples: string[];
  flags: Flag[];
  /** What its operands can be, for the shells; by default what their words in the help say. */
  completes?: Completion;
  /** What it is doing if it takes a while, until it says more; absent if it gives the terminal to others. */
  activity?: string;
  /** Not for people: the help does not list it. */
  hidden?: boolean;
  /** Does it, and returns the exit code; 0 if undefined. */
  run(context: CommandContext): Promise<number | void>;
}

/** A verb with subcommands: `iso create`, `iso ls`. */
export interface CommandGroup {
  /** What they have in common, in one sentence. */
  about: string;
  commands: Record<string, Command>;
}

/** A command, by its full name: `iso create`. */
export interface NamedCommand {
  name: string;
  /** What it does, in a few words, for each word of its name. */
  summaries: string[];
  command: Command;
}

/** What a command works with. */
export interface CommandContext {
  args: Arguments;
  /** Aborted when the user interrupts. */
  signal: AbortSignal;
  /** From now on each interrupt goes to `handler`, and no longer aborts the signal. */
  takeInterrupts(handler: (name: Interrupt) => void): void;
  /** All commands. */
  allCommands(): Promise<NamedCommand[]>;
  /** Makes a symbolic link; see `runInSandbox`. */
  symlink(target: string, path: string): Promise<void>;
  /** Runs one of the commands that it asks for, and gives the exit code. */
  ask(asked: Asked): Promise<number>;
  /** The emulator that the common options name. */
  emulator?: { profile: LoadedProfile; home: string };
  /** What `prepare` has found out. */
  prepared?: unknown;
  /** A token for GitHub; `null` if there is none. */
  token?: Token | null;
  /** A login for the registry; `null` if there is none. */
  login?: Login | null;
  /** The way to servers. */
  network?: Network;
}

/** The options of commands that work on an emulator. */
const EMULATOR_FLAGS: Flag[] = [
  {
    name: "profile",
    value: "NAME|FILE",
    completes: "profiles",
    summary: "the emulator: a built-in profile or a JSON file (default: the nearest hotboot.json, else stack)",
  },
  {
    name: "home",
    value: "DIR",
    summary: "hotboot's directory (default: $HOTBOOT_HOME, else the profile's, else ~/.hotboot)",
  },
  { name: "instance", value: "NAME", completes: "instances", summary: "the instance (default: the profile's own)" },
  { name: "trust", summary: "trust the project's hotboot.json as it is now, as 'hotboot trust' does" },
  {
    name: "arch",
    value: "ARCH",
    completes: ["amd64", "arm64"],
    variable: "EMULATOR_ARCH",
    check: resolveArch,
    summary: "the guest's architecture: amd64 or arm64 (default: $EMULATOR_ARCH, else the host's)",
  },
];

/** The options that every command takes. */
const COMMON_FLAGS: Flag[] = [
  { name: "json", summary: "print the result as JSON" },
  { name: "quiet", short: "q", summary: "print nothing but results and errors" },
  { name: "verbose", short: "v", summary: "print details on standard error" },
  {
    name: "color",
    value: "WHEN",
    completes: COLORS,
    summary: "use colours: auto (on a terminal, unless NO_COLOR is set), always or never",
  },
  { name: "help", short: "h", summary: "show this help" },
];

/** All options that a command takes. */
export function allFlags(command: Command): Flag[] {
  return [...command.flags, ...(command.standalone ? [] : EMULATOR_FLAGS), ...COMMON_FLAGS];
}

/** Reads a command's arguments. @throws {UsageError} for an unknown option or a missing value. */
export function readArguments(verb: string, command: Command, raw: string[]): Arguments {
  const flags = allFlags(command);
  const hint = `see 'hotboot ${verb} --help'`;
  const parsed = parseArgs(raw, {
    // "_": operands stay text, even 007.
    string: ["_", ...flags.filter((flag) => flag.value).map((flag) => flag.name)],
    boolean: flags.filter((flag) => !flag.value).map((flag) => flag.name),
    collect: flags.filter((flag) => flag.repeats).map((flag) => flag.name),
    alias: Object.fromEntries(flags.filter((flag) => flag.short).map((flag) => [flag.short!, flag.name])),
    stopEarly: command.stopsEarly ?? false,
    "--": true,
    unknown: (arg: string) => {
      if (arg.startsWith("-") && arg !== "-") {
        const name = arg.split("=")[0];
        const guess = didYouMean(name, flags.map((flag) => `--${flag.name}`));
        throw new UsageError(`${verb} has no option ${name}${guess}: ${hint}`);
      }
    },
  }) as Record<string, unknown> & { _: string[]; "--": string[] };

  const end = raw.findIndex((arg) => arg === "--" || arg === parsed._[0]);
  const beforeOperands = end < 0 ? raw : raw.slice(0, end);
  const values: Record<string, string> = {};
  const switches = new Set<string>();
  for (const { name, value, repeats, separator = "," } of flags) {
    const all = [parsed[name]].flat();
    const given = repeats && all.length > 0 ? all.join(separator) : all.at(-1);
    if (!value && beforeOperands.some((arg) => arg.startsWith(`--${name}=`))) {
      throw new UsageError(`--${name} takes no value: ${hint}`);
    }
    if (value && given === "") throw new UsageError(`--${name} needs a value (${value}): ${hint}`);
    if (value && given !== undefined) values[name] = String(given);
    if (!value && given === true) switches.add(name);
  }
  // The first `--` ends the options; after an operand, it is an operand itself.
  const operands = [...parsed._, ...(parsed._.length > 0 && raw.includes("--") ? ["--"] : []), ...parsed["--"]].map(
    String,
  );
  if (!command.operands && operands.length > 0) {
    throw new UsageError(`${verb} does not take '${operands[0]}': ${hint}`);
  }
  oneOf("color", values.color, COLORS);
  const args = { values, switches, operands };
  return switches.has("help") ? args : command.implied?.(args) ?? args;
}

/**
 * Adds the environment's variables. An empty variable or `0` counts as not set. An option on the command line takes
 * precedence over its variable.
 *
 * @throws {HotbootError} with the name of a variable whose value is wrong.
 */
export function withVariables(command: Command, { values, switches, operands }: Arguments): Arguments {
  const all = { values: { ...values }, switches: new Set(switches), operands };
  for (const { name, value, variable, check } of allFlags(command)) {
    const text = variable === undefined ? "" : Deno.env.get(variable) ?? "";
    if (text === "" || text === "0") continue;
    if (!value) all.switches.add(name);
    else if (values[name] === undefined) {
      try {
        check?.(text);
      } catch (error) {
        throw new HotbootError(`${variable}: ${messageOf(error)}`);
      }
      all.values[name] = text;
    }
  }
  return all;
}

/** The value of a whole number option. @throws {UsageError} if it is not a whole number. */
export function wholeNumber(args: Arguments, name: string): number | undefined {
  const text = args.values[name];
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw new UsageError(`--${name} takes a whole number, not '${text}'`);
  return Number(text);
}

/** An option's value that is one of a few words. @throws {UsageError} if it is another. */
export function oneOf<T extends string>(name: string, value: string | undefined, words: readonly T[]): T | undefined {
  if (value === undefined || words.includes(value as T)) return value as T | undefined;
  const [last, ...others] = words.toReversed();
  throw new UsageError(
    `--${name} takes ${others.reverse().join(", ")} or ${last}, not '${value}'${didYouMean(value, words)}`,
  );
}

/** The value of `--repo`. @throws {UsageError} if it is not a repository's name. */
export function repository(args: Arguments): string | undefined {
  const { repo } = args.values;
  if (repo === undefined || /^[\w.-]+\/[\w.-]+$/.test(repo)) return repo;
  throw new UsageError(`--repo takes OWNER/NAME, not '${repo}'`);
}

/** The first sentence of a text, without its full stop. */
export function firstSentence(text: string): string {
  return text.split(/\.(?=\s|$)/)[0].replaceAll("\n", " ");
}
