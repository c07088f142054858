/**
 * hotboot as a library: local emulators — a service stack in one QEMU machine — that resume a warm snapshot in well
 * under a second.
 *
 * {@linkcode openEmulator} names one, and the operations take it:
 *
 * - {@linkcode start}, {@linkcode stop}, {@linkcode restart}, {@linkcode reset} and {@linkcode status} of an instance;
 *   {@linkcode listInstances}, {@linkcode stopAll} and {@linkcode waitFor}; {@linkcode exec}, {@linkcode logs},
 *   {@linkcode credentials}, {@linkcode openProject} and {@linkcode environment} of one that runs; {@linkcode run}
 *   of a program while one does;
 * - {@linkcode pull} or {@linkcode build} its image, {@linkcode push} it to a registry or {@linkcode writeAssets} for a
 *   release, and {@linkcode capture} the warm snapshot; {@linkcode start} gets the image and captures if needed;
 * - {@linkcode listSnapshots}, {@linkcode verifySnapshot}, {@linkcode removeSnapshots}, {@linkcode pruneSnapshots},
 *   {@linkcode exportSnapshot} and {@linkcode importSnapshot}; {@linkcode saveCheckpoint} and
 *   {@linkcode renameCheckpoint}.
 *
 * The parts below them are useful on their own: QEMU's monitor ({@linkcode QmpClient}) and guest agent
 * ({@linkcode GuestAgent}); ISO 9660 images ({@linkcode writeIso}, {@linkcode readIso}); zstd
 * ({@linkcode compressFile}, {@linkcode zstdDecompressStream}); downloads that continue where they broke off
 * ({@linkcode download}) and GitHub's releases ({@linkcode GitHub}).
 *
 * Nothing here prints, ends the program or reads its arguments, and importing it needs no permissions. What each function
 * needs is in its documentation, in these words: the *home* is hotboot's directory, `~/.hotboot` by default. An
 * *instance's sockets* are files in it or, if its path is too long for a socket, in `/tmp/hotboot-…`; up to Deno 2.8 read
 * and write permission are enough for them, and from 2.9 on each needs net permission as `unix:PATH`. *QEMU* is
 * `qemu-system-x86_64` or `qemu-system-aarch64` on `PATH`; run permission is for the path at which it is found there.
 *
 * Errors that a user can fix are thrown as {@linkcode HotbootError}, whose message is one line.
 *
 * @example Start, use and stop
 * ```ts
 * import { openEmulator, start, stop } from "@hotboot/hotboot";
 *
 * const emulator = await openEmulator({ profile: "demo" });
 * const { urls } = await start(emulator);
 * console.log(await (await fetch(`${urls.backend}/health?db=1`)).text());
 * await stop(emulator);
 * ```
 *
 * @example With progress, and an end after a minute
 * ```ts
 * import { formatBytes, openEmulator, start } from "@hotboot/hotboot";
 *
 * const emulator = await openEmulator({
 *   signal: AbortSignal.timeout(60_000),
 *   report: {
 *     step: (text) => console.error(text),
 *     detail: () => {},
 *     warn: (text) => console.error("warning:", text),
 *     progress: (what, done, total) => console.error(what, formatBytes(done), "of", formatBytes(total)),
 *   },
 * });
 * await start(emulator);
 * ```
 *
 * @module
 */

export { HotbootError } from "./lib/base/error.ts";

export { type Emulator, type EmulatorOptions, openEmulator, type Reporter } from "./lib/instance/emulator.ts";
export { build, type BuildOptions, type BuildResult } from "./lib/image/build.ts";
export { capture, type CaptureOptions, type CaptureResult } from "./lib/emulator/capture.ts";
export { pull } from "./lib/image/pull.ts";
export type { PullOptions, PullResult } from "./lib/image/pulling.ts";
export { type AssetsResult, writeAssets } from "./lib/image/assets.ts";
export { push, type PushOptions, type PushResult } from "./lib/image/push.ts";
export { exportKubeVirt, type KubernetesObject, type KubeVirtOptions } from "./lib/emulator/kubevirt.ts";
export type { Login } from "./lib/oci/login.ts";
export { credentials } from "./lib/guest/rotate.ts";
export { start, type StartOptions, type StartResult } from "./lib/emulator/start.ts";
export { reset, stop, type StopOptions, type StopResult } from "./lib/emulator/stop.ts";
export { restart, type RestartOptions } from "./lib/emulator/restart.ts";
export { stopAll, type StopAllResult } from "./lib/emulator/stop_all.ts";
export { waitFor, type WaitForOptions, type WaitResult } from "./lib/emulator/wait.ts";
export { type InstanceInfo, listInstances, type ListOptions } from "./lib/emulator/list.ts";
export { type Status, status } from "./lib/emulator/status.ts";
export { openProject, type ProjectAnswer } from "./lib/emulator/project.ts";
export { environment } from "./lib/emulator/environment.ts";
export { run, type RunOptions } from "./lib/emulator/run.ts";
export { type LogOptions, logs } from "./lib/emulator/logs.ts";
export { exec } from "./lib/guest/exec.ts";
export type { ExecOptions, ExecTerminal, TerminalSize } from "./lib/guest/exec_options.ts";
export {
  listSnapshots,
  type RemoveOptions,
  removeSnapshots,
  type SnapshotInfo,
  type VerifyResult,
  verifySnapshot,
} from "./lib/emulator/snapshots.ts";
export { renameCheckpoint, type RenameResult } from "./lib/emulator/rename.ts";
export { type Pruned, type PruneResult, pruneSnapshots } from "./lib/emulator/prune.ts";
export { type ExportOptions, type ExportResult, exportSnapshot } from "./lib/emulator/export.ts";
export { type ImportOptions, type ImportResult, importSnapshot } from "./lib/emulator/import.ts";
export type { SnapshotUser } from "./lib/instance/users.ts";
export type { Home } from "./lib/instance/home.ts";
export type { Image, ImageFile, ImageOrigin, ImageRecord } from "./lib/image/image.ts";
export type { Provenance } from "./lib/sigstore/provenance.ts";
export type { ImagePart, ImagePaths } from "./lib/instance/machine.ts";
export type { Ending, Origin } from "./lib/instance/record.ts";
export type { StateName } from "./lib/instance/state.ts";
export { history, type RecordedRun } from "./lib/instance/history.ts";
export type { Memory } from "./lib/instance/memory.ts";
export type { Phase } from "./lib/base/timeline.ts";
export { envPort } from "./lib/profile/env.ts";
export type {
  AttestationSource,
  BaseImage,
  Build,
  CloudInit,
  ConfigDisk,
  FrozenUnit,
  HealthCheck,
  Hooks,
  LoadedProfile,
  Port,
  Profile,
  ProfileHome,
  ProjectRequest,
  ProofCheck,
  ReleaseSource,
  Rotation,
  ScriptRecipe,
  Share,
} from "./lib/profile/profile.ts";
export { type CheckpointResult, saveCheckpoint } from "./lib/emulator/checkpoint.ts";
export { fork, type ForkOptions, type ForkResult } from "./lib/emulator/fork.ts";
export { countSpares, makeSpares, type Spares } from "./lib/emulator/spares.ts";
export type { Engine, Identity, SavedBy } from "./lib/snapshot/manifest.ts";
export type { Secrets, SecretSpec } from "./lib/profile/secrets.ts";

export { buildIso, type IsoFile } from "./lib/iso/build.ts";
export {
  type IsoAttributes,
  type IsoContent,
  type IsoDirectoryEntry,
  type IsoEntry,
  IsoError,
  type IsoFileEntry,
  type IsoOptions,
  type IsoSymlinkEntry,
} from "./lib/iso/entry.ts";
export { extractIso, type ExtractOptions } from "./lib/iso/extract.ts";
export { IsoImage, type IsoNode, type IsoReadOptions, type IsoViewName, readIso } from "./lib/iso/read.ts";
export { scanFiles } from "./lib/iso/scan.ts";
export type { IsoSource } from "./lib/iso/source.ts";
export { createIso, writeIso } from "./lib/iso/write.ts";

export { download } from "./lib/release/download.ts";
export { formatBytes, formatDuration, renderProgressLine } from "./lib/base/format.ts";
export {
  type Artifact,
  GitHub,
  type GitHubOptions,
  type Release,
  type ReleaseAsset,
  type WorkflowRun,
} from "./lib/release/github.ts";
export type { Network } from "./lib/release/network.ts";
export type { Token } from "./lib/release/token.ts";
export type { HttpRequest, RetryOptions } from "./lib/release/http.ts";
export type { Download, DownloadOptions } from "./lib/release/options.ts";

export type { ZstdEngineName } from "./lib/zstd/engine.ts";
export { compressFile, decompressFile, type ZstdOptions } from "./lib/zstd/file.ts";
export { ZstdError } from "./lib/zstd/frame.ts";
export {
  zstdCompressStream,
  type ZstdCompressStreamOptions,
  zstdDecompressStream,
  type ZstdDecompressStreamOptions,
} from "./lib/zstd/stream.ts";

export { GuestAgent, GuestAgentError, type GuestCommand, type GuestResult } from "./lib/vm/guest_agent.ts";
export type { Duplex } from "./lib/vm/json_lines.ts";
export type { Hardware, PassedOver } from "./lib/vm/accelerator.ts";
export { type Arch, resolveArch } from "./lib/vm/arch.ts";
export { QmpClient, QmpClosedError, QmpError, type QmpEvent } from "./lib/vm/qmp.ts";
export type { WaitOptions } from "./lib/base/wait.ts";
