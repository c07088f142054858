/** What each command may access, and nothing else. `grants.ts` resolves the words. */

import { PROXY_VARIABLES } from "../../release/network.ts";

/** A file or directory and everything below it: hotboot's own, or named on the command line by a word of the help. */
type Place =
  | "home"
  | "cache"
  | "recipe"
  | "config files"
  | "firmware"
  | "programs"
  | "console"
  | "compose files"
  | "project files"
  | "IMAGE"
  | "DIR"
  | "FILE"
  | "PATH…";

/**
 * Peers on this machine: the guest's services, those of all instances, those of a spare in the making, the page of `ui`,
 * QEMU's sockets, and those of the streams of programs in the guest. Hosts elsewhere: where the image is published (a
 * registry, or GitHub), and that of a base image.
 */
type Peer =
  | "services"
  | "all services"
  | "spares"
  | "page"
  | "qemu"
  | "streams"
  | "publisher"
  | "github"
  | "registry"
  | "base image";

/** A program on `PATH`. */
export type Program = "qemu" | "bash";

/** When a row's addition applies. */
export type Condition =
  | "unless --skip-snapshot"
  | "with --fix"
  | "with --online"
  | "if it pulls the image"
  | "if it builds the image"
  | "with --details"
  | "with --open"
  | "with a script"
  | "with cloud-init"
  | "with cloud-init and a published base image";

/** What a command may access. */
export interface Row {
  /** What it reads. */
  read?: Place[];
  /** What it reads, creates, changes and removes. */
  write?: Place[];
  /** A file that it creates or replaces, and nothing else in its directory. */
  replace?: Place[];
  /** What it connects to and, for sockets and the services' ports, listens on: on ::1, to see whether another does. */
  net?: Peer[];
  /** What it runs. */
  run?: Program[];
  /** The environment variables that it reads. */
  env?: string[];
  /** What it asks the system for: how much free space a disk has, how long the host has been up, and how much memory it has. */
  sys?: ("statfs" | "osUptime" | "systemMemoryInfo")[];
  /** Additions under some conditions. */
  more?: Partial<Record<Condition, Row>>;
}

/** To ask QEMU for its version and features. */
const ASK: Row = { run: ["qemu"], env: ["PATH", "HOTBOOT_ACCEL"], sys: ["osUptime"] };
/** To judge a snapshot. */
const JUDGE: Row = { read: ["config files"], ...ASK };
const BOOT: Row = {
  ...ASK,
  sys: [...ASK.sys!, "statfs"],
  read: ["config files", "firmware"],
  write: ["home"],
  net: ["services", "qemu"],
};
const BUILD: Row = {
  read: ["recipe"],
  write: ["home"],
  net: ["qemu"],
  env: ["PATH"],
  more: {
    "with a script": { run: ["bash"] },
    "with cloud-init": { ...ASK, read: ["config files", "firmware"] },
    "with cloud-init and a published base image": { net: ["base image"], sys: ["statfs"] },
  },
};
const PULL: Row = {
  read: ["config files"],
  write: ["home"],
  net: ["publisher", "qemu"],
  env: ["HOTBOOT_GITHUB_API"],
  sys: ["statfs"],
};
/** Without an image, `start`, `run` and `capture` get one as the profile says. */
const OBTAIN: Row["more"] = {
  "if it pulls the image": PULL,
  "if it builds the image": BUILD,
};

const BOOT_OR_GET: Row = { ...BOOT, more: OBTAIN };

const MAKE_SPARES: Row = {
  ...BOOT_OR_GET,
  net: ["services", "spares", "qemu"],
};

/** Also the file to make a project from. */
const START: Row = { ...BOOT, read: [...BOOT.read!, "FILE"], more: OBTAIN };

/** To look at a guest that may print without end. */
const LOOK: Row = { read: ["home"], write: ["console"], sys: ["statfs"] };

/** Its terminal's kind is passed on to the guest's. */
const EXEC: Row = { ...LOOK, net: ["qemu", "streams"], env: ["TERM"] };

/** By the command's name. */
export const TABLE: Record<string, Row> = {
  "init": { read: ["compose files"], write: ["project files"] },
  // The launcher has read the profile.
  "profile show": {},
  "profile validate": {},
  "build": BUILD,
  "pull": { ...PULL, more: { "unless --skip-snapshot": BOOT } },
  "push": { write: ["home", "DIR"], net: ["registry"], sys: ["statfs"] },
  "list-releases": { net: ["github"], env: PULL.env },
  "capture": MAKE_SPARES,
  "start": START,
  "fork": BOOT_OR_GET,
  // Bash runs the program, which is then outside any sandbox.
  "run": { ...START, net: MAKE_SPARES.net, run: [...START.run!, "bash"] },
  // Here and below, Bash kills a QEMU that does not answer.
  "spare": { ...MAKE_SPARES, run: [...MAKE_SPARES.run!, "bash"] },
  "stop": { write: ["home"], net: ["qemu"] },
  "restart": BOOT_OR_GET,
  // Bash looks at other processes.
  "doctor": {
    ...JUDGE,
    read: ["home", "firmware", ...JUDGE.read!],
    write: ["cache"],
    net: ["services", "qemu"],
    run: [...JUDGE.run!, "bash"],
    env: [...JUDGE.env!, "HOTBOOT_GITHUB_API"],
    sys: [...JUDGE.sys!, "statfs", "systemMemoryInfo"],
    more: { "with --fix": { write: ["home"] }, "with --online": { net: ["github"] } },
  },
  "wait": { ...LOOK, net: ["services", "qemu"] },
  // Bash reads how much memory a QEMU has.
  "list": {
    read: ["home"],
    net: ["qemu"],
    more: { "with --details": { net: ["all services"], run: ["bash"], env: ["PATH"] } },
  },
  // It asks for other commands, which have their own rows.
  "ui": { net: ["page"], more: { "with --open": { run: ["bash"], env: ["PATH"] } } },
  "reset": { write: ["home"], net: ["qemu"], run: ["bash"], env: ["PATH"] },
  "status": { ...LOOK, net: ["services", "qemu"], env: ["HOTBOOT_ACCEL"] },
  "timeline": { read: ["home"], replace: ["FILE"] },
  "logs": { read: ["home"], write: ["console"] },
  "exec": EXEC,
  "shell": EXEC,
  "credentials": { read: ["home"], net: ["qemu"] },
  "snapshot ls": { ...JUDGE, read: ["home", ...JUDGE.read!], write: ["cache"], net: ["qemu"] },
  "snapshot save": { write: ["home"], net: ["qemu"], sys: ["osUptime"] },
  "snapshot rename": { write: ["home"] },
  "snapshot rm": { write: ["home"], net: ["qemu"] },
  "snapshot prune": { ...JUDGE, write: ["home"], net: ["qemu"], run: [...JUDGE.run!, "bash"] },
  "snapshot verify": { write: ["home"], sys: ["osUptime"] },
  "snapshot export": { write: ["home"], replace: ["FILE"], sys: ["osUptime"] },
  "snapshot import": {
    ...JUDGE,
    write: ["home"],
    read: [...JUDGE.read!, "FILE"],
    sys: [...JUDGE.sys!, "statfs"],
  },
  "export kubevirt": { read: ["home", "config files"] },
  "iso create": { read: ["PATH…"], replace: ["IMAGE"], env: ["SOURCE_DATE_EPOCH"] },
  "iso ls": { read: ["IMAGE"] },
  "iso extract": { read: ["IMAGE"], write: ["DIR"] },
  "completions bash": {},
  "completions zsh": {},
  "completions fish": {},
  "completions list": { read: ["home"] },
  "trust": {}, // the launcher does it
  "permissions": {
    read: ["home", "programs"],
    env: ["PATH", "HOTBOOT_GITHUB_API", "HOTBOOT_DOWNLOAD_HOSTS", ...PROXY_VARIABLES],
  },
};
