/** A way of saving and restoring RAM: one face for both. */

import type { Memory } from "../vm/machine.ts";
import type { QmpClient } from "../vm/qmp.ts";
import type { WaitOptions } from "../base/wait.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { Manifest } from "./manifest.ts";

/** What an engine works with, beside the snapshot's directory. */
export interface EngineContext {
  /** A free path for a socket. */
  socket: string;
  /** The machine's CPUs, of which each can carry a part. */
  threads: number;
  /** Told now and then how many bytes of how many are done. */
  onProgress: (what: string, done: number, total: number) => void;
}

/** Puts the state into a machine that waits for it. The machine is paused afterwards. */
export type Load = (qmp: QmpClient, context: EngineContext, options: WaitOptions) => Promise<void>;

/** A way of saving and restoring RAM. */
export interface SnapshotEngine {
  /** Why it cannot work with this version of QEMU, or `undefined`. */
  impossible(qemuVersion: string): string | undefined;
  /** Whether its RAM is in a file of the snapshot from the start. */
  hasRamFile: boolean;
  /** The memory of a machine that is to be captured into the directory, and of one that is resumed from it. */
  memory(directory: string, when: "capture" | "resume"): Memory;
  /** Saves a stopped machine, which must not run on afterwards. */
  save(qmp: QmpClient, directory: string, context: EngineContext, options: WaitOptions): Promise<void>;
  /** Does what takes time once QEMU has ended; gives what is to be recorded of the cache, if there is one. */
  finish(directory: string, context: EngineContext, signal: AbortSignal): Promise<Fingerprint | undefined>;
  /** Gets ready, while QEMU starts, to load. */
  open(
    directory: string,
    manifest: Manifest,
    context: Omit<EngineContext, "socket">,
    signal: AbortSignal,
  ): Promise<Load>;
}
