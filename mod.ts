/**
 * hotboot as a library: local emulators — a service stack in one QEMU machine — that resume a warm snapshot in well
 * under a second.
 *
 * {@linkcode openEmulator} names one; {@linkcode start}, {@linkcode stop} and the other operations take it. Below them
 * are QEMU's monitor ({@linkcode QmpClient}) and guest agent ({@linkcode GuestAgent}), and ISO 9660 images
 * ({@linkcode writeIso}, {@linkcode readIso}) and zstd ({@linkcode compressFile}, {@linkcode zstdDecompressStream}), which
 * are of use on their own.
 * Nothing here prints, ends the program or reads its arguments.
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
 * @module
 */

export { HotbootError } from "./lib/error.ts";

export { type Emulator, type EmulatorOptions, openEmulator, type Reporter } from "./lib/emulator/emulator.ts";
export { build, type BuildOptions, type BuildResult } from "./lib/emulator/build.ts";
export { capture, type CaptureOptions, type CaptureResult } from "./lib/emulator/capture.ts";
export { pull, type PullOptions, type PullResult } from "./lib/emulator/pull.ts";
export { credentials } from "./lib/emulator/rotate.ts";
export { start, type StartOptions, type StartResult } from "./lib/emulator/start.ts";
export { reset, stop, type StopOptions, type StopResult } from "./lib/emulator/stop.ts";
export { type Status, status } from "./lib/emulator/status.ts";
export { type LogOptions, logs } from "./lib/emulator/logs.ts";
export { exec, type ExecOptions } from "./lib/emulator/exec.ts";
export {
  listSnapshots,
  type RemoveOptions,
  removeSnapshots,
  type SnapshotInfo,
  type VerifyResult,
  verifySnapshot,
} from "./lib/emulator/snapshots.ts";
export { type Pruned, type PruneResult, pruneSnapshots } from "./lib/emulator/prune.ts";
export { type ExportResult, exportSnapshot } from "./lib/emulator/export.ts";
export { type ImportOptions, type ImportResult, importSnapshot } from "./lib/emulator/import.ts";
export type { SnapshotUser } from "./lib/emulator/in_use.ts";
export type { Home } from "./lib/emulator/home.ts";
export type { Image, ImageFile, ImageOrigin, ImagePart, ImageRecord } from "./lib/emulator/image.ts";
export type { Origin } from "./lib/emulator/instance.ts";
export type { Phase, Timeline } from "./lib/emulator/timeline.ts";
export { envPort } from "./lib/profile/env.ts";
export type {
  Build,
  ConfigDisk,
  FrozenUnit,
  HealthCheck,
  Hooks,
  LoadedProfile,
  Port,
  Profile,
  ReleaseSource,
  Rotation,
} from "./lib/profile/profile.ts";
export type { Engine, Identity } from "./lib/snapshot/manifest.ts";
export type { ProofCheck } from "./lib/secrets/proof.ts";
export type { Secrets, SecretSpec } from "./lib/secrets/secrets.ts";

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
export { IsoImage, type IsoNode, type IsoViewName, readIso } from "./lib/iso/read.ts";
export { scanFiles } from "./lib/iso/scan.ts";
export type { IsoSource } from "./lib/iso/source.ts";
export { createIso, writeIso } from "./lib/iso/write.ts";

export { download } from "./lib/release/download.ts";
export { formatBytes, formatDuration, renderProgressLine } from "./lib/release/format.ts";
export {
  type Artifact,
  GitHub,
  type GitHubOptions,
  type Release,
  type ReleaseAsset,
  type WorkflowRun,
} from "./lib/release/github.ts";
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
export { type Arch, resolveArch } from "./lib/vm/arch.ts";
export { QmpClient, QmpError, type QmpEvent } from "./lib/vm/qmp.ts";
export type { WaitOptions } from "./lib/wait.ts";
