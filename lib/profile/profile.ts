/**
 * Profiles: what one emulator is, as data.
 *
 * `schema.json` beside this file says the same for editors and is what a profile is checked against.
 *
 * @module
 */

import type { Engine } from "../snapshot/manifest.ts";
import type { SecretSpec } from "./secrets.ts";
import type { Arch } from "../vm/arch.ts";

/** A service's port. */
export interface Port {
  /** The TCP port that the service listens on in the guest. */
  guest: number;
  /** The port on the host's 127.0.0.1 that leads there. */
  host: number;
  /** The environment's variable that gives another, where the profile's file names one. */
  variable?: string;
  /**
   * The address that people and browsers are told; `http://127.0.0.1:PORT` unless told. In it `${ports.NAME.host}` stands for
   * a port, `$$` for `$`.
   */
  url?: string;
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

/** A script that makes a disk. */
export interface ScriptRecipe {
  /** A bash script, called with an output directory and an architecture; relative to the profile. */
  script: string;
  /** The files and directories that decide what comes out, the script among them; relative to the profile. */
  inputs: string[];
}

/**
 * The disk that an image is made from: a qcow2 disk that boots by its own boot loader and has cloud-init, such as
 * distributions publish. In `url` and `file` `{arch}` stands for the architecture: `amd64`, `arm64`.
 */
export type BaseImage =
  /** A published one, with its SHA-256 in hex for each architecture. */
  | { url: string; sha256: Partial<Record<Arch, string>> }
  /** One that is there, relative to the profile. */
  | { file: string }
  /** One that a script makes, as `disk.qcow2` in its output directory. */
  | ScriptRecipe;

/** How cloud-init makes an image from another: the machine is booted once, and its disk is kept. */
export interface CloudInit {
  /** What it begins with. */
  base: BaseImage;
  /** The size of the image's disk, in MiB; at least that of the base. */
  disk: number;
  /** cloud-init's user-data, relative to the profile. */
  userData: string;
  /** A read-only disk with files for the guest, which it finds by the label. */
  bundle?: {
    /** Its volume label; at most 32 ASCII characters. */
    label: string;
    /** Files, and directories whose contents go to the disk's root; relative to the profile. */
    paths: string[];
  };
  /** How long all of it may take, in seconds; half an hour unless told. */
  timeout?: number;
  /** How long the guest may show no sign of life, in seconds; 300 unless told. */
  silence?: number;
}

/** How an image is built on this machine: by a script, or by cloud-init in the machine itself. */
export type Build = ScriptRecipe | { cloudInit: CloudInit };

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
   * Its files by their names, each as its lines, or as a file that takes the lines' place where it is named: it is copied as
   * it is. In a profile's file its path is relative to that or, in a built-in profile, to the working directory; here it is
   * absolute. In lines `${ports.NAME.host}` and `${ports.NAME.guest}` stand for a port, `${instance.name}` and
   * `${instance.directory}` for the instance's name and its directory on the host, `$$` for `$`.
   */
  files: Record<string, string[] | { file: string; lines?: string[] }>;
}

/**
 * A request, and what the answer to it must be. In `headers`, `contains` and `excludes` `${secret.NAME}` stands for a
 * secret's new value and `${placeholder.NAME}` for what is in the image, `$$` for `$`.
 */
export interface ProofCheck {
  /** What it shows, for people. */
  name: string;
  /** The name of one of the profile's ports. */
  port: string;
  /** Path and query. */
  path: string;
  /** GET unless told. */
  method?: string;
  /** Its header fields. */
  headers?: Record<string, string>;
  /** The status expected; 200 unless told. */
  status?: number;
  /** Ask also for all scripts and style sheets that the page has from the same port; what follows is about all. */
  scripts?: boolean;
  /** What must be in what is served. */
  contains?: string[];
  /** What must be nowhere in it. */
  excludes?: string[];
}

/** How secrets are put into a guest that runs, and how it shows that they took effect. */
export interface Rotation {
  /** A program in the guest and its arguments. It reads `NAME=value` lines from standard input; exit code 0 is success. */
  command: string[];
  /** Its limit, and that of the proof, in seconds each; 60 unless told. */
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
  /** Further variables for `hotboot run --config-file`. In their values `${answer.FIELD}` stands for what the answer has. */
  environment?: Record<string, string>;
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
  /** Its name, `postgresql.service`, or systemd's pattern for several, `docker-*.scope`. */
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

/** Where a profile's emulators live. */
export interface ProfileHome {
  /**
   * The directory, in place of `~/.hotboot`: absolute, `~/…` for one below the user's own, or relative to the working
   * directory.
   */
  directory?: string;
  /** Where instances lie, a directory's name in it or an absolute path; `instances` unless told. */
  instances?: string;
  /** Where images lie, likewise; `images` unless told. */
  images?: string;
  /** What the profile's own instance is called; as the profile unless told. */
  instance?: string;
}

/**
 * What one emulator is. In the texts of a profile's file `${env.NAME}` stands for a variable of the environment, and
 * `${env.NAME:-text}` for the text where that is not set or empty; `$${env.NAME}` for `${env.NAME}` itself. Numbers can be
 * given as such texts, too. All of that has been filled in here.
 */
export interface Profile {
  /** Lower-case letters, digits and dashes; names the image and its snapshots. */
  name: string;
  /** Where its emulators live, if not where all do. */
  home?: ProfileHome;
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
    /** The kernel's command line, where the image has a kernel beside its disk; the serial console is added unless it has a `console=`. */
    append?: string;
    /**
     * What the guest reaches beside its ports: `open`, unless told, all that the host's user does; `restricted`, neither
     * the host nor anything beyond it.
     */
    network?: "open" | "restricted";
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
   * `${ports.NAME.guest}` and `${secret.NAME}` stand for ports and secrets, `$$` for `$`.
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
