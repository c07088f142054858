/**
 * The command line: `hotboot VERB …`. Each verb's module is loaded when it is used.
 *
 * @module
 */

import {
  type Command,
  type CommandGroup,
  commandHelp,
  groupHelp,
  readArguments,
  UsageError,
} from "./lib/commands/command.ts";
import { messageOf } from "./lib/error.ts";
import { print, printError } from "./lib/ui/console.ts";
import config from "./deno.json" with { type: "json" };

const VERBS: Record<string, { summary: string; load: () => Promise<{ command: Command | CommandGroup }> }> = {
  build: { summary: "build the image", load: () => import("./lib/commands/build.ts") },
  pull: { summary: "download the image and capture it", load: () => import("./lib/commands/pull.ts") },
  "list-releases": {
    summary: "list what can be downloaded",
    load: () => import("./lib/commands/list_releases.ts"),
  },
  capture: { summary: "boot once and keep the warm moment", load: () => import("./lib/commands/capture.ts") },
  start: { summary: "start the emulator, warm", load: () => import("./lib/commands/start.ts") },
  stop: { summary: "power it off", load: () => import("./lib/commands/stop.ts") },
  reset: { summary: "end it and remove what it has left", load: () => import("./lib/commands/reset.ts") },
  status: { summary: "show what there is and how it does", load: () => import("./lib/commands/status.ts") },
  logs: { summary: "print the guest's console", load: () => import("./lib/commands/logs.ts") },
  exec: { summary: "run a program in the guest", load: () => import("./lib/commands/exec.ts") },
  credentials: { summary: "print its secrets", load: () => import("./lib/commands/credentials.ts") },
  snapshot: {
    summary: "list, remove, verify, export and import snapshots",
    load: () => import("./lib/commands/snapshot.ts"),
  },
  iso: { summary: "make, list and unpack ISO 9660 images", load: () => import("./lib/commands/iso.ts") },
};

/** The exit codes that scripts can rely on. */
const [OK, FAILURE, USAGE, INTERRUPTED] = [0, 1, 2, 130];

/** Aborts the command's work; every operation cleans up after itself then. */
class Interrupt extends Error {}

function help(): string {
  const rows = Object.entries(VERBS).map(([verb, { summary }]) => `  ${verb.padEnd(14)} ${summary}`);
  return [
    "hotboot starts a local emulator, a service stack in one virtual machine, by resuming a warm snapshot of it.",
    "",
    "Usage: hotboot COMMAND [OPTION…]",
    "",
    ...rows,
    "",
    "'hotboot COMMAND --help' shows a command's options; 'hotboot --version' the version.",
  ].join("\n");
}

async function run(args: string[], signal: AbortSignal, onVerbose: () => void): Promise<number> {
  const [verb, ...rest] = args;
  if (verb === "--version" || verb === "-V") {
    await print(`hotboot ${config.version}`);
    return OK;
  }
  if (verb === "--help" || verb === "-h" || verb === "help") {
    await print(help());
    return OK;
  }
  if (verb === undefined) {
    await printError(help());
    return USAGE;
  }
  if (!Object.hasOwn(VERBS, verb)) throw new UsageError(`there is no command '${verb}': see 'hotboot --help'`);
  const { command } = await VERBS[verb].load();
  if ("run" in command) return await runCommand(verb, command, rest, signal, onVerbose);

  const [second, ...others] = rest;
  if (second === undefined || second === "--help" || second === "-h") {
    await (second === undefined ? printError : print)(groupHelp(verb, command));
    return second === undefined ? USAGE : OK;
  }
  if (!Object.hasOwn(command.commands, second)) {
    throw new UsageError(`there is no command '${verb} ${second}': see 'hotboot ${verb} --help'`);
  }
  return await runCommand(`${verb} ${second}`, command.commands[second], others, signal, onVerbose);
}

async function runCommand(
  name: string,
  command: Command,
  args: string[],
  signal: AbortSignal,
  onVerbose: () => void,
): Promise<number> {
  const parsed = readArguments(name, command, args);
  if (parsed.switches.has("help")) {
    await print(commandHelp(name, command));
    return OK;
  }
  if (parsed.switches.has("verbose")) onVerbose();
  return await command.run({ args: parsed, signal }) ?? OK;
}

/** Runs the command line `args` and gives its exit code. */
async function main(args: string[]): Promise<number> {
  const interrupt = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(name, () => interrupt.abort(new Interrupt(`interrupted by ${name}`)));
  }
  let isVerbose = false;
  try {
    return await run(args, interrupt.signal, () => isVerbose = true);
  } catch (error) {
    if (interrupt.signal.aborted) {
      await printError("hotboot: interrupted");
      return INTERRUPTED;
    }
    if (error instanceof Deno.errors.BrokenPipe) return OK; // the reader has seen enough: hotboot logs | head
    await printError(`hotboot: ${messageOf(error)}`);
    if (isVerbose) await printError(String((error as Error)?.stack));
    return error instanceof UsageError ? USAGE : FAILURE;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
