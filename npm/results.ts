// Made of docs/json by dev/npm_types.ts.

/**
 * ISO 8601, in UTC.
 */
export type Time = string;
/**
 * A size in bytes.
 */
export type Bytes = number;
/**
 * SHA-256, in hexadecimal digits.
 */
export type Digest = string;
export type Arch = "amd64" | "arm64";
/**
 * How RAM is saved: flat is a checkpoint's.
 */
export type Engine = "instant" | "mapped-ram" | "flat";
/**
 * docs/instances.md says what each means.
 */
export type State =
  | "stopped"
  | "starting"
  | "running"
  | "paused"
  | "stopping"
  | "suspended"
  | "shut down"
  | "crashed"
  | "abandoned"
  | "unresponsive"
  | "damaged";
/**
 * What the next start finds.
 */
export type Kept = "suspended" | "shut down" | "crashed";
/**
 * How it was started.
 */
export type Origin = "cold boot" | "resume" | "spare" | "continue";
/**
 * Where the time went. Phases can overlap.
 */
export type Timeline = {
  /**
   * What was done.
   */
  name: string;
  /**
   * When it began, in milliseconds after the beginning.
   */
  startMs: number;
  /**
   * When it ended, likewise.
   */
  endMs: number;
  /**
   * It did not end as it should have.
   */
  failed?: true;
}[];
/**
 * Where an image came from.
 */
export type ImageOrigin =
  | {
    kind: "build";
    /**
     * The digest of the recipe.
     */
    recipe: string;
  }
  | {
    kind: "release";
    repository: string;
    tag: string;
    published: string;
    version: string;
    /**
     * The SHA-256 of the index of chunks that it was put together from: then its disk is in the form of chunks.
     */
    index?: string;
  }
  | {
    kind: "run";
    repository: string;
    /**
     * The workflow run's id.
     */
    run: number;
    branch?: string;
    published: string;
    version: string;
  }
  | {
    kind: "oci";
    /**
     * oci://HOST/REPOSITORY:TAG.
     */
    reference: string;
    /**
     * The digest of what the reference named.
     */
    digest: string;
    /**
     * The digest of this architecture's manifest.
     */
    version: string;
    published: string;
  }
  | {
    kind: "adopted";
  };
/**
 * Who built the image, as its attestation shows; null if it has none; absent if the profile does not ask.
 */
export type ImageProvenance = null | {
  /**
   * The GitHub repository that it was built from.
   */
  repository: string;
  /**
   * The branch or tag of it.
   */
  ref: string;
  commit: string;
  /**
   * The workflow, with its own version.
   */
  workflow: string;
  /**
   * The address of the run.
   */
  run: string;
  /**
   * Who confirmed this to Sigstore.
   */
  issuer: string;
};

/**
 * Where the services are, by the names of the profile's ports.
 */
export interface Urls {
  [k: string]: string;
}
/**
 * The ports of this machine, by the names of the profile's ports.
 */
export interface Ports {
  [k: string]: number;
}
/**
 * The variables of the profile's environment, with secrets.
 */
export interface Environment {
  [k: string]: string;
}
/**
 * The absolute paths of the image's files.
 */
export interface ImagePaths {
  disk: string;
  kernel?: string;
  initrd?: string;
}
export interface ImageFile {
  size: Bytes;
  /**
   * When it was last written, milliseconds since 1970.
   */
  mtime: number;
  /**
   * When it was last touched in any way, likewise.
   */
  ctime: number;
  sha256: Digest;
}
/**
 * The image's files as they were put in place.
 */
export interface ImageFiles {
  disk: ImageFile;
  kernel?: ImageFile;
  initrd?: ImageFile;
}
/**
 * Only of an instance that runs.
 */
export interface Running {
  origin: Origin;
  /**
   * When it was started.
   */
  started: string;
  /**
   * QEMU's process id.
   */
  pid?: number;
  /**
   * The snapshot below its disk.
   */
  snapshot?: string;
  /**
   * Whether its secrets are its own; absent if the profile has none.
   */
  secrets?: "rotated" | "placeholders";
  urls: Urls;
  ports: Ports;
  /**
   * Whether each health check passes.
   */
  health: {
    [k: string]: boolean;
  };
  /**
   * Why its own secrets are no longer in effect.
   */
  lostSecrets?: string;
}
/**
 * What `hotboot start --json` prints.
 */
export interface StartResult {
  /**
   * The instance's name.
   */
  instance: string;
  /**
   * How it was started.
   */
  origin?: "cold boot" | "resume" | "spare" | "continue";
  /**
   * The snapshot below its disk.
   */
  snapshot?: string;
  /**
   * The path of the file with its secrets; absent if it has none of its own.
   */
  credentials?: string;
  urls: Urls;
  ports: Ports;
  timeline: Timeline;
}
/**
 * What `hotboot restart --json, in one line` prints.
 */
export interface RestartResult {
  /**
   * The instance's name.
   */
  instance: string;
  /**
   * How it was started.
   */
  origin?: "cold boot" | "resume" | "spare" | "continue";
  /**
   * The snapshot below its disk.
   */
  snapshot?: string;
  /**
   * The path of the file with its secrets; absent if it has none of its own.
   */
  credentials?: string;
  urls: Urls;
  ports: Ports;
  timeline: Timeline;
  env: Environment;
}
/**
 * What `hotboot run --fresh --json without a program, in one line` prints.
 */
export interface RunResult {
  /**
   * The instance's name.
   */
  instance: string;
  /**
   * How it was started.
   */
  origin?: "cold boot" | "resume" | "spare" | "continue";
  /**
   * The snapshot below its disk.
   */
  snapshot?: string;
  /**
   * The path of the file with its secrets; absent if it has none of its own.
   */
  credentials?: string;
  urls: Urls;
  ports: Ports;
  timeline: Timeline;
  env: Environment;
}
/**
 * What `hotboot fork --json, in one line` prints.
 */
export interface ForkResult {
  /**
   * The instance's name.
   */
  instance: string;
  /**
   * How it was started.
   */
  origin?: "cold boot" | "resume" | "spare" | "continue";
  /**
   * The snapshot below its disk.
   */
  snapshot?: string;
  /**
   * The path of the file with its secrets; absent if it has none of its own.
   */
  credentials?: string;
  urls: Urls;
  ports: Ports;
  timeline: Timeline;
  /**
   * How long the source stood still, in milliseconds; 0 if it did not run.
   */
  stoodStillMs: number;
  env: Environment;
}
/**
 * What `hotboot stop --json` prints.
 */
export interface StopResult {
  /**
   * False if the instance did not run.
   */
  stopped: boolean;
  kept?: Kept;
}
/**
 * What `hotboot reset --json` prints.
 */
export interface ResetResult {
  /**
   * Whether it was running.
   */
  stopped: boolean;
}
/**
 * What `hotboot status --json, or -o json` prints.
 */
export interface Status {
  /**
   * The profile's name.
   */
  profile: string;
  /**
   * The instance's name.
   */
  instance: string;
  /**
   * The instance's profile, if that is another one.
   */
  of?: string;
  state: State;
  /**
   * What to know about a state that needs attention, and what to do.
   */
  why?: string;
  running?: Running;
  /**
   * How QEMU runs guests here, as far as an earlier command found out.
   */
  acceleration?: {
    accelerator: "kvm" | "hvf" | "tcg";
    /**
     * The hardware accelerator that is not used.
     */
    passedOver?: {
      accelerator: "kvm" | "hvf";
      reason: "refused" | "slow" | "stuck";
      why: string;
      /**
       * What to do about it.
       */
      remedy: string;
    };
  };
  image?:
    | {
      path: string;
      /**
       * When it was put in place.
       */
      created: string;
      bytes: Bytes;
      origin: ImageOrigin;
      provenance?: ImageProvenance;
    }
    | {
      /**
       * What is wrong with the image.
       */
      error: string;
    };
  snapshot?:
    | {
      id: string;
      /**
       * When it was captured.
       */
      created: string;
      engine: Engine;
    }
    | {
      /**
       * Why it cannot be used.
       */
      error: string;
    };
  /**
   * Absent if there are none and none are wanted.
   */
  spares?: {
    wanted: number;
    spares: number;
  };
}
/**
 * What `hotboot credentials --json` prints.
 */
export interface Secrets {
  [k: string]: string;
}
/**
 * What `hotboot capture --json` prints.
 */
export interface CaptureResult {
  /**
   * The snapshot's id.
   */
  snapshot: string;
  /**
   * False if there was a snapshot to resume already.
   */
  captured: boolean;
  timeline: Timeline;
}
/**
 * What `hotboot snapshot save --json` prints.
 */
export interface CheckpointResult {
  id: string;
  name?: string;
  /**
   * How long the instance stood still, in milliseconds.
   */
  stoodStillMs: number;
}
/**
 * What `hotboot exec --json; not with -t` prints.
 */
export interface ExecAnswer {
  /**
   * The program's exit code, and hotboot's.
   */
  exitCode: number;
  stdout: string;
  stderr: string;
}
/**
 * What `hotboot profile show --json` prints.
 */
export interface Shown {
  /**
   * Its file.
   */
  file: string;
  /**
   * hotboot's directory.
   */
  home: string;
  /**
   * Where the image's disk is, or will be.
   */
  image: string;
  /**
   * The instance's directory.
   */
  instance: string;
  /**
   * The profile with its defaults and absolute paths. What it can contain is in lib/profile/schema.json.
   */
  profile: {
    [k: string]: unknown;
  };
}
/**
 * What `What each command prints with --json when it fails, unless it has printed something before` prints.
 */
export interface Failure {
  /**
   * What happened, why, and what to type.
   */
  error: string;
  /**
   * 1: it failed; 2: a wrong command line; 130: interrupted.
   */
  exitCode: 1 | 2 | 130;
}
