/**
 * Homes where hotboot cannot work: above all those that several machines share. A lock, a process id and a socket mean something on one machine only: on another, a
 * guest that runs looks like one that has ended, whose disk may be removed.
 *
 * Source: statfs(2), "f_type", and the table of GNU coreutils' `stat`, which has more.
 */

import { statfs } from "node:fs/promises";
import { HostError } from "../base/error.ts";
import { NoSocketError } from "../vm/connect.ts";
import type { Home } from "./home.ts";

const KINDS: Record<number, string> = {
  0x6969: "NFS",
  0x517b: "SMB",
  0xff534d42: "SMB",
  0xfe534d42: "SMB",
  0x0bd00bd0: "Lustre",
  0x47504653: "GPFS",
  0x19830326: "BeeGFS",
  0xaad7aaea: "PanFS",
  0x00c36400: "Ceph",
  0x5346414f: "AFS",
  0x6b414653: "AFS",
  0x73757245: "Coda",
  0x01161970: "GFS2",
  0x7461636f: "OCFS2",
  0x20030528: "OrangeFS",
  0xbeefdead: "StorNext",
  0x0000564c: "NCP",
  0x01021997: "9P",
  0x786f4256: "VirtualBox's shared folders",
  0xbacbacbc: "VMware's shared folders",
  0x7c7c6673: "Parallels' shared folders",
};

/** The name of a file system that machines share, by its number in Linux; `undefined` for all others. */
export function sharedKind(type: number): string | undefined {
  return KINDS[type >>> 0]; // Linux has it as a signed number on some machines
}

/** The first of the home's places that other machines can reach, with the file system's name. */
export async function sharedPlace({ places }: Home): Promise<{ path: string; kind: string } | undefined> {
  if (Deno.build.os !== "linux") return undefined; // only there the numbers mean this
  for (const path of places) {
    const found = await statfs(path).catch(() => undefined); // it may be to come
    const kind = found && sharedKind(found.type);
    if (kind !== undefined) return { path, kind };
  }
}

/**
 * The type of the file system with this device number (stat(2), "st_dev"), of a program's own (FUSE) or of a virtual machine's
 * host, if other machines can reach it. All of them have one number in `statfs`, and only the system's list of mounts names them.
 *
 * @param mounts Each mount's device, as major:minor, and its type.
 */
export function sharedMount(device: number, mounts: string[]): string | undefined {
  const major = Math.floor(device / 2 ** 8) & 0xfff;
  const minor = (device & 0xff) | (Math.floor(device / 2 ** 12) & 0xfff00);
  const type = mounts.find((line) => line.startsWith(`${major}:${minor} `))?.split(" ")[1];
  return type !== undefined && SHARED_TYPES.includes(type.replace(/^fuse\./, "")) ? type : undefined;
}

const SHARED_TYPES = [
  ...["sshfs", "glusterfs", "ceph-fuse", "juicefs", "rclone", "s3fs", "gcsfuse", "blobfuse", "blobfuse2", "goofys"],
  ...[
    "mfs",
    "moosefs",
    "lizardfs",
    "seaweedfs",
    "curlftpfs",
    "smbnetfs",
    "davfs",
    "virtiofs",
    "vmhgfs-fuse",
    "grpcfuse",
  ],
];

/** What is wrong with it, and what to do. */
export function sharedFault({ path, kind }: { path: string; kind: string }): HostError {
  return new HostError(
    `${path} is on ${kind}, where other machines would take its guests for dead`,
    "name a directory on this machine's own disk with HOTBOOT_HOME or --home, such as /var/tmp/hotboot-$USER",
  );
}

/** The home's file system has no sockets: it is one of another system, or of another machine. No other start would work. */
export class NoSockets extends HostError {}

/** The same error, or a clearer one if no socket could be made. */
export function clearerFault(home: Home, error: unknown): unknown {
  if (!(error instanceof NoSocketError)) return error;
  return new NoSockets(
    `the file system of ${home.instances} has no sockets (${error.why}), as those of other systems and machines`,
    "name a directory on this machine's own disk with HOTBOOT_HOME or --home",
  );
}

/** @throws {HostError} if other machines can reach the home. Needs sys permission for `statfs`. */
export async function requireOwnMachine(home: Home): Promise<void> {
  const shared = await sharedPlace(home);
  if (shared) throw sharedFault(shared);
}
