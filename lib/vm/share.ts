/**
 * Files of the host in the guest, over 9p. QEMU cannot save a machine that has such a file system mounted, nor load one with
 * the device into one without it: so the device is plugged into a slot that each machine has, and unplugged before saving.
 *
 * Source: QEMU's documentation, "9pfs" (wiki, Documentation/9psetup) and "QMP Reference Manual" (device_add,
 * DEVICE_DELETED, query-migrate).
 */

import { HotbootError } from "../base/error.ts";
import type { WaitOptions } from "../base/wait.ts";
import { option } from "./option.ts";
import type { QmpClient } from "./qmp.ts";

/** A directory of the host that a guest may be given. */
export interface SharedDirectory {
  /** Its absolute path. */
  path: string;
  /** QEMU lets nothing be changed in it. */
  readOnly: boolean;
}

/** The empty slot. */
export const SPARE_SLOT = "spare";
const ID = "share";
/** ACPI's unplugging takes milliseconds. PCIe's own has Linux wait 5 s, in which somebody may change their mind. */
const UNPLUG_MS = 20_000;

/**
 * What QEMU needs from its start. It is no device: nothing of it is saved.
 *
 * `none`: files have the owners and modes that they have on the host, as far as QEMU's user may give them; `mapped-xattr`
 * would write into the host's files what the guest means, `passthrough` needs root. `forbid`: QEMU serves nothing of other
 * file systems that are mounted below the path, so that a share of `/` has no `/proc`, `/sys` and `/dev` in it. Guest root can
 * unmount whatever would hide them in the guest.
 */
export function shareArguments({ path, readOnly }: SharedDirectory): string[] {
  const values = { id: ID, path, security_model: "none", multidevs: "forbid", ...(readOnly && { readonly: "on" }) };
  return ["-fsdev", option("local", values)];
}

/**
 * Reports early what QEMU would only report when it plugs the device in: that the directory is missing or cannot be read.
 * Asks QEMU to open it as a disk, which no directory is.
 *
 * @throws {HotbootError} with QEMU's message.
 */
export async function requireDirectory(qmp: QmpClient, path: string, options: WaitOptions): Promise<void> {
  const node = { driver: "file", "node-name": ID, filename: path, "read-only": true };
  const refusal: unknown = await qmp.execute("blockdev-add", node, options).catch((error) => error);
  if (refusal instanceof Error && !/ to be a regular file/.test(refusal.message)) throw refusal;
  if (!(refusal instanceof Error)) {
    throw new HotbootError(`the profile shares ${path}, which is a file: share a directory`);
  }
}

/** Plugs the device in, unless it is plugged in already. The guest need not run yet. */
export async function plugShare(qmp: QmpClient, tag: string, options: WaitOptions): Promise<void> {
  if (await sharedTag(qmp, options) !== undefined) return;
  const device = { driver: "virtio-9p-pci", id: ID, bus: SPARE_SLOT, fsdev: ID, mount_tag: tag };
  await qmp.execute("device_add", device, options);
}

/** The tag of the device that is plugged in. */
export async function sharedTag(qmp: QmpClient, options: WaitOptions): Promise<string | undefined> {
  const devices = await qmp.execute<{ name: string }[]>("qom-list", { path: "/machine/peripheral" }, options);
  if (!devices.some(({ name }) => name === ID)) return undefined;
  return await qmp.execute("qom-get", { path: `/machine/peripheral/${ID}`, property: "mount_tag" }, options);
}

/** @throws {HotbootError} if it is mounted somewhere in the guest. */
export async function requireUnmounted(qmp: QmpClient, options: WaitOptions): Promise<void> {
  const { "blocked-reasons": reasons = [] } = await qmp.execute<{ "blocked-reasons"?: string[] }>(
    "query-migrate",
    {},
    options,
  );
  if (reasons.some((reason) => reason.includes("VirtFS"))) {
    throw new HotbootError(
      "the host's files are still mounted in a container of the guest, or in another mount namespace: end that container, or unmount them there",
    );
  }
}

/** Unplugs the device, unless the guest has already released it. The guest must run for that. */
export async function unplugShare(qmp: QmpClient, options: WaitOptions): Promise<void> {
  if (await sharedTag(qmp, options) === undefined) return;
  const unplugged = qmp.waitForEvent(
    ({ event, data }) => event === "DEVICE_DELETED" && data.device === ID,
    "the guest, asked to release the host's files,",
    { timeoutMs: UNPLUG_MS, ...options },
  );
  await qmp.execute("device_del", { id: ID }, options);
  await unplugged;
}
