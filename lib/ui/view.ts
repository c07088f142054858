/** What the page shows. The server makes it, and the browser draws it. */

import type { InstanceInfo } from "../emulator/list.ts";
import type { SnapshotInfo } from "../emulator/snapshots.ts";
import type { RecordedRun } from "../instance/history.ts";

/** All that the page shows, but the console and the secrets. */
export interface View {
  /** The profile's name. */
  profile: string;
  /** hotboot's directory. */
  home: string;
  /** The instances of the home, the profile's own first. */
  instances: InstanceView[];
  /** The snapshots and checkpoints of all profiles. */
  snapshots: SnapshotInfo[];
  /** What the page has asked for, the newest last. */
  activities: Activity[];
  /** Why the last look failed. */
  fault?: string;
}

/** An instance. */
export interface InstanceView extends InstanceInfo {
  /** What to type to act on it, if the page cannot, because it is of another profile. */
  elsewhere?: string;
  /** Where the time went of the last command that started, stopped or saved it. */
  lastRun?: RecordedRun;
}

/** What the page may ask for. */
export type Wish =
  | { verb: "start"; instance: string }
  | { verb: "stop"; instance: string; how: "suspend" | "shutdown" }
  | { verb: "reset"; instance: string; confirmed: string }
  | { verb: "fork"; source: string; name: string }
  | { verb: "save"; instance: string; name: string };

/** Something that was asked for. */
export interface Activity {
  id: number;
  /** In words: `start demo`. */
  what: string;
  /** The instance that it acts on, or makes. */
  instance: string;
  state: "at work" | "done" | "failed" | "interrupted";
  /** The last line that it reported or, when it failed, why, and what to do. */
  text: string;
}
