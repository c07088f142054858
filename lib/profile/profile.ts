/**
 * Profiles: what one emulator is, as data.
 *
 * `schema.json` beside this file says the same for editors and is what a profile is checked against.
 *
 * @module
 */

import { toFileUrl } from "@std/path/to-file-url";
import { GUESTS } from "../bundle.ts";
import { HotbootError } from "../error.ts";
import type { Engine } from "../snapshot/manifest.ts";
import type { ProofCheck } from "../secrets/proof.ts";
import type { SecretSpec } from "../secrets/secrets.ts";

/** A service's port. */
export interface Port {
  /** The TCP port that the service listens on in the guest. */
  guest: number;
  /** The port on the host's 127.0.0.1 that leads there. */
  host: number;
}

/** A request that a healthy guest answers. */
export interface HealthCheck {
  /** What is checked, for people. */
  name: string;
  /** The name of one of the profile's ports. */
  port: string;
  /** The path, and query, of the GET request. */
  path: string;
  /** The status expected; 200 unless told. */
  status?: number;
}

/** How an image is built from a recipe. */
export interface Build {
  /** A bash script, called with an output directory and an architecture; relative to the profile. */
  script: string;
  /** The files and directories that decide what comes out, the script among them; relative to the profile. */
  inputs: string[];
}

/** Where an image is published. In all names `{arch}` stands for the architecture: `amd64`, `arm64`. */
export interface ReleaseSource {
  /** The GitHub repository: `owner/name`. */
  repository: string;
  /** The tag of the release, in which `{branch}` stands for a branch. */
  tag: string;
  /** The branch, where none is named; `main` unless told. */
  branch?: string;
  /** The files of the release, by what they are of the image. */
  assets: { disk: string; kernel?: string; initrd?: string };
  /** The workflow that builds images of branches, by its file's name. */
  workflow?: string;
  /** What that leaves: an artifact with the same files in it. */
  artifact?: string;
}

/** A small read-only disk with an ISO 9660 file system, by which the host tells the guest something. */
export interface ConfigDisk {
  /** Its volume label, by which the guest finds it; at most 32 ASCII characters. */
  label: string;
  /**
   * Its files by their names, each as its lines. In them `${ports.NAME.host}` and `${ports.NAME.guest}` stand for a port,
   * `${instance.name}` and `${instance.directory}` for the instance's name and its directory on the host, `$$` for `$`.
   */
  files: Record<string, string[]>;
}

/** How secrets are put into a guest that runs, and how it shows that they took effect. */
export interface Rotation {
  /** A program in the guest and its arguments. It reads `NAME=value` lines from standard input; exit code 0 is success. */
  command: string[];
  /** Its limit, and that of the proof, in seconds each; 30 unless told. */
  timeout?: number;
  /** What must hold afterwards. */
  proof: ProofCheck[];
}

/**
 * The request by which a service of the guest makes a project of a config file on the host, and tells its keys. In
 * `headers` and `body` `${secret.NAME}` stands for a secret's value and `${ports.NAME.host}` and `${ports.NAME.guest}`
 * for a port, `$$` for `$`.
 */
export interface ProjectRequest {
  /** The name of one of the profile's ports. */
  port: string;
  /** Path and query. */
  path: string;
  /** POST unless told. */
  method?: string;
  /** Its header fields; `content-type` is `application/json` unless told. */
  headers?: Record<string, string>;
  /** What is sent, as JSON. In it `${config.file}` stands for the file's absolute path. */
  body?: Record<string, string>;
  /** The fields of the answer, a JSON object, that are of use. */
  answer: string[];
  /** Its limit, in seconds; 30 unless told. */
  timeout?: number;
}

/**
 * A directory of the host that the guest can use, by 9p. Whatever runs as root in the guest can do there what the user can
 * who has started hotboot: read, and no more unless told.
 */
export interface Share {
  /** The tag by which the guest finds it. */
  tag: string;
  /** Its absolute path on the host. */
  path: string;
  /** A program in the guest and its arguments. It mounts what has the tag, and waits for that to be found. */
  mount: string[];
  /** False lets the guest change, make and remove files; true unless told. */
  readOnly?: boolean;
}

/** A systemd unit whose processes are frozen before the capture, so that a resume wakes them when all is ready. */
export interface FrozenUnit {
  /** Its name: `postgresql.service`. */
  unit: string;
  /**
   * When it is thawed: after the rotation unless told, or before, if that needs it. Either way only once the guest's
   * kernel has fresh entropy and its clock is right.
   */
  thaw?: "after rotation" | "before rotation";
}

/** Commands in the guest, each a program and its arguments. */
export interface Hooks {
  /** Run before each capture, when the guest is healthy and nothing is frozen yet. */
  beforeCapture?: string[][];
  /** Run after each resume, before the rotation. */
  afterResume?: string[][];
}

/** What one emulator is. */
export interface Profile {
  /** Lower-case letters, digits and dashes; names the image and its snapshots. */
  name: string;
  /** Where the image comes from. */
  image: {
    /** The recipe that makes it on this machine. */
    build?: Build;
    /** Where it is published, which comes before a recipe. */
    release?: ReleaseSource;
  };
  /** The virtual machine. */
  machine: {
    /** RAM, in MiB. */
    memory: number;
    /** Virtual CPUs. */
    cpus: number;
    /** The kernel's command line, where the image has a kernel beside its disk. */
    append?: string;
  };
  /** The services' ports, by name. */
  ports: Record<string, Port>;
  /** What the guest is told on a disk of its own. */
  config?: ConfigDisk;
  /** What must answer before the emulator is called up. */
  health: HealthCheck[];
  /** What every start makes anew, and `rotation` puts into the guest. */
  secrets?: SecretSpec[];
  /** How. */
  rotation?: Rotation;
  /** What it has of the host's files while it runs. */
  share?: Share;
  /** What makes a project of a config file. */
  project?: ProjectRequest;
  /**
   * The variables that `hotboot run` gives to its command, by their names. In their values `${ports.NAME.host}`,
   * `${ports.NAME.guest}` and `${secret.NAME}` stand for ports and secrets, `${answer.FIELD}` for what the project
   * request has given, `$$` for `$`. Without a config file those with an answer in them are left out.
   */
  environment?: Record<string, string>;
  /** What must not run after a resume before all of it is unique again. */
  freeze?: FrozenUnit[];
  /** What else is to be done around a capture. */
  hooks?: Hooks;
  /** How RAM is saved; `instant` where that works, unless told. */
  engine?: Engine;
  /** Limits until all health checks are green, in seconds. */
  timeouts: {
    /** After power-on. */
    boot: number;
    /** After a resume. */
    resume: number;
  };
}

/** A profile and where it stands. */
export interface LoadedProfile {
  /** The profile itself. */
  profile: Profile;
  /** Its file; the base of its relative paths. */
  url: URL;
}

const BUILT_IN: Record<string, () => Promise<{ default: unknown }>> = {
  demo: () => import("../../qemu/demo/profile.json", { with: { type: "json" } }),
};

/**
 * Finds a profile by the name of a built-in one, or by the path of its file.
 *
 * @param nameOrPath A built-in's name; anything with a slash or ending in `.json` is a path.
 * @throws {HotbootError} when there is no such profile, or naming the first field that is wrong.
 */
export async function loadProfile(nameOrPath: string): Promise<LoadedProfile> {
  if (Object.hasOwn(BUILT_IN, nameOrPath)) {
    const profile = (await BUILT_IN[nameOrPath]()).default as Profile;
    return { profile, url: new URL(`${nameOrPath}/profile.json`, GUESTS) };
  }
  if (!nameOrPath.includes("/") && !nameOrPath.endsWith(".json")) {
    const known = Object.keys(BUILT_IN).join(", ");
    throw new HotbootError(`no profile '${nameOrPath}': built in are ${known}; a file's name ends in .json`);
  }
  let text: string;
  let path = nameOrPath;
  try {
    path = await Deno.realPath(nameOrPath);
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new HotbootError(`no profile at ${nameOrPath}`);
    if (error instanceof Deno.errors.IsADirectory) {
      throw new HotbootError(`${nameOrPath} is a directory, not a profile`);
    }
    throw error;
  }
  const { parseProfile } = await import("./parse.ts");
  return { profile: parseProfile(text, nameOrPath), url: toFileUrl(path) };
}
