/** The verbs. A verb's module is loaded when it is used, and its dependencies when it runs. */

import { didYouMean } from "../../base/closest.ts";
import { type Command, type CommandGroup, firstSentence, type NamedCommand, UsageError } from "./command.ts";

/** What people want to do, in the order of the help, with the help's headings. */
export const GROUPS = {
  daily: "Every day",
  snapshot: "Get an image and a snapshot",
  inside: "Look inside",
  many: "Many instances",
  share: "Keep and share",
  tool: "The tool itself",
};

/** A verb, and where the help lists it. */
export interface Verb {
  group: keyof typeof GROUPS;
  summary: string;
  load: () => Promise<{ command: Command | CommandGroup }>;
}

/** By name, in the order of the help. */
export const VERBS: Record<string, Verb> = {
  start: { group: "daily", summary: "start the emulator", load: () => import("./start.ts") },
  run: { group: "daily", summary: "run a program while the emulator is up", load: () => import("./run.ts") },
  status: {
    group: "daily",
    summary: "show the instance, its health, the image and the snapshot",
    load: () => import("./status.ts"),
  },
  wait: {
    group: "daily",
    summary: "wait until the instance is healthy, or no longer runs",
    load: () => import("./wait.ts"),
  },
  stop: { group: "daily", summary: "suspend the instance, or shut it down", load: () => import("./stop.ts") },
  restart: {
    group: "daily",
    summary: "shut the guest down and boot its disk again",
    load: () => import("./restart.ts"),
  },
  reset: { group: "daily", summary: "end the instance and remove its files", load: () => import("./reset.ts") },
  pull: { group: "snapshot", summary: "download the image and capture a snapshot", load: () => import("./pull.ts") },
  "list-releases": {
    group: "snapshot",
    summary: "list the releases that can be pulled",
    load: () => import("./list_releases.ts"),
  },
  build: { group: "snapshot", summary: "build the image from the profile's recipe", load: () => import("./build.ts") },
  capture: { group: "snapshot", summary: "boot once and capture a snapshot", load: () => import("./capture.ts") },
  exec: { group: "inside", summary: "run a program in the guest", load: () => import("./exec.ts") },
  shell: { group: "inside", summary: "open a shell in the guest", load: () => import("./shell.ts") },
  logs: { group: "inside", summary: "print the guest's console", load: () => import("./logs.ts") },
  timeline: {
    group: "inside",
    summary: "show where the time of the last commands went",
    load: () => import("./timeline.ts"),
  },
  credentials: { group: "inside", summary: "print the instance's secrets", load: () => import("./credentials.ts") },
  list: { group: "many", summary: "list the instances of all profiles", load: () => import("./list.ts") },
  fork: { group: "many", summary: "start one more instance where another one is", load: () => import("./fork.ts") },
  spare: {
    group: "many",
    summary: "keep guests with proven secrets ready for new instances",
    load: () => import("./spare.ts"),
  },
  snapshot: {
    group: "share",
    summary: "list, save, remove, verify, export and import snapshots",
    load: () => import("./snapshot.ts"),
  },
  ui: {
    group: "many",
    summary: "serve a page with the instances, and buttons for them",
    load: () => import("./ui.ts"),
  },
  push: { group: "share", summary: "push the image to a registry", load: () => import("./push.ts") },
  export: {
    group: "share",
    summary: "print what runs the image elsewhere: KubeVirt",
    load: () => import("./export.ts"),
  },
  iso: { group: "share", summary: "make, list and unpack ISO 9660 images", load: () => import("./iso.ts") },
  init: { group: "tool", summary: "write a hotboot.json for this project", load: () => import("./init.ts") },
  profile: { group: "tool", summary: "show or check a profile", load: () => import("./profile.ts") },
  doctor: {
    group: "tool",
    summary: "look at all that a start needs, and say what to do",
    load: () => import("./doctor.ts"),
  },
  trust: { group: "tool", summary: "trust the project's hotboot.json", load: () => import("./trust.ts") },
  permissions: {
    group: "tool",
    summary: "show what each command may access",
    load: () => import("./permissions.ts"),
  },
  completions: {
    group: "tool",
    summary: "print what makes a shell complete hotboot's commands",
    load: () => import("./completions.ts"),
  },
};

/** The verb's module. @throws {UsageError} if there is none. */
export async function loadVerb(verb: string): Promise<Command | CommandGroup> {
  if (Object.hasOwn(VERBS, verb)) return (await VERBS[verb].load()).command;
  throw new UsageError(`there is no command '${verb}'${didYouMean(verb, Object.keys(VERBS))}: see 'hotboot --help'`);
}

/** The command of this name. @throws {UsageError} if there is none. */
export async function findCommand(name: string): Promise<Command> {
  const [verb, second] = name.split(" ");
  const loaded = await loadVerb(verb);
  if ("run" in loaded && second === undefined) return loaded;
  if (!("run" in loaded) && second !== undefined && Object.hasOwn(loaded.commands, second)) {
    return loaded.commands[second];
  }
  const [known, group] = "run" in loaded ? [[], ""] : [Object.keys(loaded.commands), `${verb} `];
  throw new UsageError(
    `there is no command '${name}'${didYouMean(second ?? "", known)}: see 'hotboot ${group}--help'`,
  );
}

/** All commands. */
export async function allCommands(): Promise<NamedCommand[]> {
  const each = await Promise.all(
    Object.keys(VERBS).map(async (verb): Promise<NamedCommand[]> => {
      const loaded = await loadVerb(verb);
      const { summary } = VERBS[verb];
      if ("run" in loaded) return [{ name: verb, summaries: [summary], command: loaded }];
      return Object.entries(loaded.commands).map(([second, command]) => ({
        name: `${verb} ${second}`,
        summaries: [summary, firstSentence(command.about)],
        command,
      }));
    }),
  );
  return each.flat();
}
