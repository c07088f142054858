/** The verbs. A verb's module is loaded when it is used, and its dependencies when it runs. */

import { type Command, type CommandGroup, type NamedCommand, UsageError } from "./command.ts";

interface Verb {
  summary: string;
  load: () => Promise<{ command: Command | CommandGroup }>;
}

/** By name, in the order of the help. */
export const VERBS: Record<string, Verb> = {
  build: { summary: "build the image from the profile's recipe", load: () => import("./build.ts") },
  pull: { summary: "download the image and capture a snapshot", load: () => import("./pull.ts") },
  push: { summary: "push the image to a registry", load: () => import("./push.ts") },
  "list-releases": { summary: "list the releases that can be pulled", load: () => import("./list_releases.ts") },
  capture: { summary: "boot once and capture a snapshot", load: () => import("./capture.ts") },
  start: { summary: "start the emulator", load: () => import("./start.ts") },
  run: { summary: "run a program while the emulator is up", load: () => import("./run.ts") },
  fork: { summary: "start one more instance where another one is", load: () => import("./fork.ts") },
  spare: { summary: "keep guests with proven secrets ready for new instances", load: () => import("./spare.ts") },
  stop: { summary: "suspend the instance, or shut it down", load: () => import("./stop.ts") },
  restart: { summary: "shut the guest down and boot its disk again", load: () => import("./restart.ts") },
  wait: { summary: "wait until the instance is healthy, or no longer runs", load: () => import("./wait.ts") },
  list: { summary: "list the instances of all profiles", load: () => import("./list.ts") },
  reset: { summary: "end the instance and remove its files", load: () => import("./reset.ts") },
  status: { summary: "show the instance, its health, the image and the snapshot", load: () => import("./status.ts") },
  logs: { summary: "print the guest's console", load: () => import("./logs.ts") },
  exec: { summary: "run a program in the guest", load: () => import("./exec.ts") },
  shell: { summary: "open a shell in the guest", load: () => import("./shell.ts") },
  credentials: { summary: "print the instance's secrets", load: () => import("./credentials.ts") },
  snapshot: { summary: "list, save, remove, verify, export and import snapshots", load: () => import("./snapshot.ts") },
  iso: { summary: "make, list and unpack ISO 9660 images", load: () => import("./iso.ts") },
  trust: { summary: "trust the project's hotboot.json", load: () => import("./trust.ts") },
  permissions: { summary: "show what each command may access", load: () => import("./permissions.ts") },
};

/** The verb's module. @throws {UsageError} if there is none. */
export async function loadVerb(verb: string): Promise<Command | CommandGroup> {
  if (!Object.hasOwn(VERBS, verb)) throw new UsageError(`there is no command '${verb}': see 'hotboot --help'`);
  return (await VERBS[verb].load()).command;
}

/** The command of this name. @throws {UsageError} if there is none. */
export async function findCommand(name: string): Promise<Command> {
  const [verb, second] = name.split(" ");
  const loaded = await loadVerb(verb);
  if ("run" in loaded && second === undefined) return loaded;
  if (!("run" in loaded) && second !== undefined && Object.hasOwn(loaded.commands, second)) {
    return loaded.commands[second];
  }
  throw new UsageError(`there is no command '${name}': see 'hotboot ${"run" in loaded ? "" : `${verb} `}--help'`);
}

/** All commands. */
export async function allCommands(): Promise<NamedCommand[]> {
  const each = await Promise.all(
    Object.keys(VERBS).map(async (verb): Promise<NamedCommand[]> => {
      const loaded = await loadVerb(verb);
      if ("run" in loaded) return [{ name: verb, command: loaded }];
      return Object.entries(loaded.commands).map(([second, command]) => ({ name: `${verb} ${second}`, command }));
    }),
  );
  return each.flat();
}
