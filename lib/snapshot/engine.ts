/** A way of saving and restoring RAM: one interface for all. */

import type { Memory } from "../vm/machine.ts";
import type { QmpClient } from "../vm/qmp.ts";
import type { WaitOptions } from "../base/wait.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { Manifest } from "./manifest.ts";

/** What an engine works with, besides the snapshot's directory. */
export interface EngineContext {
  /** A free path for a socket. */
  socket: string;
  /** The machine's CPUs, each of which can do a part. */
  threads: number;
  /** Called now and then with how many bytes of how many are done. */
  onProgress: (what: string, done: number, total: number) => void;
}

/** Loads the state into a machine that waits for it. The machine is paused afterwards. */
export type Load = (qmp: QmpClient, context: EngineContext, options: WaitOptions) => Promise<void>;

/** A way of saving and restoring RAM. */
export interface SnapshotEngine {
  /** Why it cannot work with this version of QEMU, or `undefined`. */
  impossible(qemuVersion: string): string | undefined;
  /** Whether its RAM is in a file of the snapshot from the start. */
  hasRamFile: boolean;
  /** The memory of a machine to be captured into the directory, or resumed from it. */
  memory(directory: string, when: "capture" | "resume"): Memory;
  /** Saves a stopped machine, which must not continue afterwards. */
  save(qmp: QmpClient, directory: string, context: EngineContext, options: WaitOptions): Promise<void>;
  /** Does the slow work after QEMU has ended; returns the fingerprint of the cache, if there is one. */
  finish(directory: string, context: EngineContext, signal: AbortSignal): Promise<Fingerprint | undefined>;
  /** Prepares to load, while QEMU starts. */
  open(
    directory: string,
    manifest: Manifest,
    context: Omit<EngineContext, "socket">,
    signal: AbortSignal,
  ): Promise<Load>;
}
