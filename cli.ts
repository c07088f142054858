/**
 * The command line: `hotboot COMMAND …`. This thread finds out what is asked for and what that may touch, and has it done
 * in a Worker that can touch nothing else.
 *
 * @module
 */

import { COMMIT } from "./lib/base/bundle.ts";
import { type Command, readArguments } from "./lib/cli/commands/command.ts";
import { OK, reportFailure, USAGE } from "./lib/cli/commands/outcome.ts";
import { findCommand, loadVerb } from "./lib/cli/commands/verbs.ts";
import { INTERRUPTS, Interrupts } from "./lib/cli/interrupts.ts";
import { SANDBOX_NAME, serveSandbox, threadName } from "./lib/cli/permissions/sandbox.ts";
import { adviseFor, print } from "./lib/cli/ui/console.ts";
import { displayOf, useDisplay } from "./lib/cli/ui/display.ts";
import config from "./deno.json" with { type: "json" };

/** What is known of the command when it fails. */
interface Progress {
  name?: string;
  isVerbose: boolean;
  isJson: boolean;
}

async function run(args: string[], interrupts: Interrupts, progress: Progress): Promise<number> {
  const [verb, ...rest] = args;
  if (verb === "--version" || verb === "-V") {
    await print(`hotboot ${config.version}${COMMIT && ` (${COMMIT})`}`);
    return OK;
  }
  if (verb === "help" && rest.length > 0 && !rest[0].startsWith("-")) {
    return await run([...rest, "--help"], interrupts, progress);
  }
  if (verb === undefined || verb === "--help" || verb === "-h" || verb === "help") {
    const { printProgramHelp } = await import("./lib/cli/commands/help.ts");
    await printProgramHelp(verb === undefined ? "error" : "result");
    return verb === undefined ? USAGE : OK;
  }
  const loaded = await loadVerb(verb);
  if ("run" in loaded) return await runCommand(verb, loaded, rest, interrupts, progress);

  const [second, ...others] = rest;
  if (second === undefined || second === "--help" || second === "-h") {
    const { printGroupHelp } = await import("./lib/cli/commands/help.ts");
    await printGroupHelp(verb, loaded, second === undefined ? "error" : "result");
    return second === undefined ? USAGE : OK;
  }
  return await runCommand(`${verb} ${second}`, await findCommand(`${verb} ${second}`), others, interrupts, progress);
}

async function runCommand(
  name: string,
  command: Command,
  args: string[],
  interrupts: Interrupts,
  progress: Progress,
): Promise<number> {
  const parsed = readArguments(name, command, args);
  if (parsed.switches.has("help")) {
    const { printCommandHelp } = await import("./lib/cli/commands/help.ts");
    await printCommandHelp(name, command);
    return OK;
  }
  adviseFor(parsed);
  const { switches } = parsed;
  Object.assign(progress, { name, isVerbose: switches.has("verbose"), isJson: switches.has("json") });
  const { launch } = await import("./lib/cli/permissions/launcher.ts");
  return await launch(new URL(import.meta.url), name, command, parsed, interrupts);
}

/** Runs the command line `args` and gives its exit code. */
async function main(args: string[]): Promise<number> {
  const interrupts = new Interrupts();
  for (const name of INTERRUPTS) Deno.addSignalListener(name, () => interrupts.raise(name));
  const options = args.includes("--") ? args.slice(0, args.indexOf("--")) : args; // not read yet
  const progress: Progress = { isVerbose: false, isJson: options.includes("--json") };
  try {
    useDisplay(displayOf(options.join(" ").match(/(?:^| )--color[ =](\w+)/)?.[1]));
    return await run(args, interrupts, progress);
  } catch (error) {
    return await reportFailure(error, progress.name, { signal: interrupts.signal, ...progress });
  }
}

const thread = threadName();
if (thread === SANDBOX_NAME) {
  serveSandbox(async (work, services) => (await import("./lib/cli/commands/work.ts")).work(work, services));
} else if (thread !== undefined) {
  await import("./lib/zstd/worker.ts"); // as one file, this is also the module of the threads that compress
} else if (import.meta.main) Deno.exit(await main(Deno.args));
