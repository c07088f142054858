/**
 * Profiles: an emulator, described as data.
 *
 * `schema.json` beside this file says the same for editors; hotboot checks profiles against it.
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
  /** The port on the host's 127.0.0.1 that is forwarded to it. */
  host: number;
  /** The environment variable that can change it, if the profile's file names one. */
  variable?: string;
  /**
   * The address to show to people and browsers; `http://127.0.0.1:PORT` by default. In it `${ports.NAME.host}` stands for a
   * port, `$$` for `$`.
   */
  url?: string;
}

/** A request that a healthy guest answers. */
export interface HealthCheck {
  /** What it checks, for people. */
  name: string;
  /** The name of one of the profile's ports. */
  port: string;
  /** The path, and query, of the GET request. */
  path: string;
  /** The expected status; 200 by default. */
  status?: number;
}

/** A script that makes a disk. */
export interface ScriptRecipe {
  /** A bash script, called with an output directory and an architecture; relative to the profile. */
  script: string;
  /** The files and directories that decide the result, including the script; relative to the profile. */
  inputs: string[];
}

/**
 * The disk that an image is made from: a qcow2 disk with its own boot loader and cloud-init, such as distributions publish.
 * In `url` and `file` `{arch}` stands for the architecture: `amd64`, `arm64`.
 */
export type BaseImage =
  /** A published one, with its SHA-256 or SHA-512 in hex for each architecture. */
  | { url: string; sha256: Partial<Record<Arch, string>> }
  | { url: string; sha512: Partial<Record<Arch, string>> }
  /** A local one, relative to the profile. */
  | { file: string }
  /** One that a script makes, as `disk.qcow2` in its output directory. */
  | ScriptRecipe;

/** How cloud-init makes an image from another: the machine boots once, and its disk becomes the image. */
export interface CloudInit {
  /** The disk to start from. */
  base: BaseImage;
  /** The size of the image's disk, in MiB; at least the base's. */
  disk: number;
  /** cloud-init's user-data, relative to the profile. */
  userData: string;
  /** A read-only disk with files for the guest, which finds it by the label. */
  bundle?: {
    /** Its volume label; at most 32 ASCII characters. */
    label: string;
    /** Files, and directories whose contents go to the disk's root; relative to the profile. */
    paths: string[];
  };
  /** The limit for the whole build, in seconds; half an hour by default. */
  timeout?: number;
  /** How long the guest may show no sign of life, in seconds; 300 by default. */
  silence?: number;
}

/** How to build an image on this machine: with a script, or with cloud-init in the machine itself. */
export type Build = ScriptRecipe | { cloudInit: CloudInit };

/** Where an image is published. In all names `{arch}` stands for the architecture: `amd64`, `arm64`. */
export interface ReleaseSource {
  /** The GitHub repository: `owner/name`. */
  repository: string;
  /** The tag of the release, in which `{branch}` stands for a branch. */
  tag: string;
  /** The default branch; `main` if absent. */
  branch?: string;
  /** Whether to refuse a file of which GitHub gives no digest; by default hotboot warns of it. */
  requireDigest?: boolean;
  /** The release's files, by their part of the image. */
  assets: { disk: string; kernel?: string; initrd?: string };
  /** The workflow that builds images of branches, by its file name. */
  workflow?: string;
  /** Its artifact, which contains the same files. */
  artifact?: string;
}

/**
 * Who must have built an image that is pulled: a workflow of GitHub Actions, which has signed that in an attestation. An
 * image with an attestation of somebody else is refused.
 */
export interface AttestationSource {
  /**
   * The workflow: `owner/name/.github/workflows/image.yml`. One of another repository than the image is built from, which
   * other workflows use, is named with its own version: `….yml@refs/tags/v1`.
   */
  workflow: string;
  /**
   * The branch or tag that the image is built from, in which `{branch}` stands for the branch whose image is pulled, and
   * `{tag}` for the tag; `refs/heads/{branch}` if absent.
   */
  ref?: string;
  /** The repository that the image is built from; the workflow's if absent. */
  repository?: string;
  /** Who confirms to Sigstore which workflow it is; `https://token.actions.githubusercontent.com` if absent. */
  issuer?: string;
  /**
   * A file with the Sigstore instances to trust, as `gh attestation trusted-root` prints it, relative to the profile; here
   * it is absolute. By default it is Sigstore's public instance, which GitHub uses for public repositories.
   */
  trustedRoot?: string;
  /** Whether to refuse an image without an attestation; by default hotboot warns of it. */
  required?: boolean;
}

/** A small read-only disk with an ISO 9660 file system, with which the host configures the guest. */
export interface ConfigDisk {
  /** Its volume label, with which the guest finds it; at most 32 ASCII characters. */
  label: string;
  /**
   * Its files by name, each as its lines, or as a file that replaces the lines if it is named, and is copied unchanged. In a
   * profile's file its path is relative to that file or, in a built-in profile, to the working directory; here it is
   * absolute. In lines `${ports.NAME.host}` and `${ports.NAME.guest}` stand for a port, `${instance.name}` and
   * `${instance.directory}` for the instance's name and its directory on the host, `$$` for `$`.
   */
  files: Record<string, string[] | { file: string; lines?: string[] }>;
}

/**
 * A request and the expected answer. In `headers`, `contains` and `excludes` `${secret.NAME}` stands for a secret's new
 * value, `${placeholder.NAME}` for the value in the image, `$$` for `$`.
 */
export interface ProofCheck {
  /** What it proves, for people. */
  name: string;
  /** The name of one of the profile's ports. */
  port: string;
  /** Path and query. */
  path: string;
  /** GET by default. */
  method?: string;
  /** Its header fields. */
  headers?: Record<string, string>;
  /** The expected status; 200 by default. */
  status?: number;
  /** Also request all scripts and style sheets that the page loads from the same port; `contains` and `excludes` apply to all. */
  scripts?: boolean;
  /** Texts that the answers must contain. */
  contains?: string[];
  /** Texts that no answer may contain. */
  excludes?: string[];
}

/** How to put secrets into a running guest, and how it proves that they took effect. */
export interface Rotation {
  /** A program in the guest and its arguments. It reads `NAME=value` lines from standard input; exit code 0 is success. */
  command: string[];
  /** The limit for it, and for the proof, in seconds each; 60 by default. */
  timeout?: number;
  /** What must hold afterwards. */
  proof: ProofCheck[];
}

/**
 * The request that makes a service of the guest create a project from a config file on the host, and return its keys. In
 * `headers` and `body` `${secret.NAME}` stands for a secret's value, `${ports.NAME.host}` and `${ports.NAME.guest}` for a
 * port, `$$` for `$`.
 */
export interface ProjectRequest {
  /** The name of one of the profile's ports. */
  port: string;
  /** Path and query. */
  path: string;
  /** POST by default. */
  method?: string;
  /** Its header fields; `content-type` is `application/json` by default. */
  headers?: Record<string, string>;
  /** The body, sent as JSON. In it `${config.file}` stands for the file's absolute path. */
  body?: Record<string, string>;
  /** The fields to use from the answer, a JSON object. */
  answer: string[];
  /** The limit for it, in seconds; 30 by default. */
  timeout?: number;
  /** Further variables for `hotboot run --config-file`. In their values `${answer.FIELD}` stands for a field of the answer. */
  environment?: Record<string, string>;
}

/**
 * A directory of the host that the guest can use, over 9p. Root in the guest can do there what the user who started hotboot
 * can: read, and nothing else by default.
 */
export interface Share {
  /** The tag with which the guest finds it. */
  tag: string;
  /** Its absolute path on the host. */
  path: string;
  /** A program in the guest and its arguments. It mounts the share with this tag, and waits until the guest finds it. */
  mount: string[];
  /** False lets the guest change, create and remove files; true by default. */
  readOnly?: boolean;
  /**
   * The part of `path` that the guest gets: no field of a profile's file, but what hotboot finds if the user's home is a file
   * system of its own below `path`. The guest has it at the same place below its mount.
   */
  part?: string;
}

/** A systemd unit whose processes freeze before the capture, so that a resume wakes them only when all is ready. */
export interface FrozenUnit {
  /** Its name, `postgresql.service`, or systemd's pattern for several, `docker-*.scope`. */
  unit: string;
  /**
   * When to thaw it: after the rotation by default, or before it, if the rotation needs the unit. Either way only once the
   * guest's kernel has fresh entropy and its clock is right.
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

/** Where a profile's emulators are stored. */
export interface ProfileHome {
  /**
   * The directory to use instead of `~/.hotboot`: absolute, `~/…` for one below the user's home, or relative to the working
   * directory.
   */
  directory?: string;
  /** The directory of instances: a name in it or an absolute path; `instances` by default. */
  instances?: string;
  /** The directory of images, in the same form; `images` by default. */
  images?: string;
  /** The name of the profile's own instance; the profile's name by default. */
  instance?: string;
}

/**
 * Describes one emulator. In the texts of a profile's file `${env.NAME}` stands for an environment variable, and
 * `${env.NAME:-text}` for the text if that is unset or empty; `$${env.NAME}` for `${env.NAME}` itself. Numbers can be
 * given as such texts, too. Here all of that has been filled in.
 */
export interface Profile {
  /** Lower-case letters, digits and dashes; the name of the image and its snapshots. */
  name: string;
  /** Where its emulators are stored, if not in the usual place. */
  home?: ProfileHome;
  /** Where the image comes from. */
  image: {
    /** The recipe that makes it on this machine. */
    build?: Build;
    /** Where it is published; takes precedence over a recipe. */
    release?: ReleaseSource;
    /**
     * The image in an OCI registry, such as {@linkcode push} puts there: `oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:…]`. Takes
     * precedence over a release.
     */
    oci?: string;
    /** Who must have built it, if it is pulled. */
    attestation?: AttestationSource;
  };
  /** The virtual machine. */
  machine: {
    /** RAM, in MiB. */
    memory: number;
    /** Virtual CPUs. */
    cpus: number;
    /** The kernel's command line, if the image has a kernel beside its disk; hotboot adds the serial console unless it has a `console=`. */
    append?: string;
    /**
     * What the guest reaches besides its ports: `open` (default), everything that the host's user reaches; `restricted`, neither
     * the host nor anything beyond it.
     */
    network?: "open" | "restricted";
  };
  /** The services' ports, by name. */
  ports: Record<string, Port>;
  /** The disk that configures the guest. */
  config?: ConfigDisk;
  /** What must answer before the emulator counts as up. */
  health: HealthCheck[];
  /** What every start makes anew, and `rotation` puts into the guest. */
  secrets?: SecretSpec[];
  /** How to do that. */
  rotation?: Rotation;
  /** The host's files that the guest gets while it runs. */
  share?: Share;
  /** How to make a project from a config file. */
  project?: ProjectRequest;
  /**
   * The variables that `hotboot run` gives to its command, by name. In their values `${ports.NAME.host}`,
   * `${ports.NAME.guest}` and `${secret.NAME}` stand for ports and secrets, `$$` for `$`.
   */
  environment?: Record<string, string>;
  /** What must not run after a resume before everything is unique again. */
  freeze?: FrozenUnit[];
  /** Commands to run around a capture. */
  hooks?: Hooks;
  /** How to save RAM; `instant` by default. */
  engine?: Engine;
  /** Limits until all health checks pass, in seconds. */
  timeouts: {
    /** After power-on. */
    boot: number;
    /** After a resume. */
    resume: number;
  };
}

/** A profile and where it was loaded from. */
export interface LoadedProfile {
  /** The profile itself. */
  profile: Profile;
  /** Its file's URL; the base of its relative paths. */
  url: URL;
}

/** Whether its image is to be pulled, and not built. */
export function isPublished({ image }: Profile): boolean {
  return image.oci !== undefined || image.release !== undefined;
}
