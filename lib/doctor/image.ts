/** The image: whether there is one, and what a start does if not. */

import { formatBytes } from "../base/format.ts";
import { sizeOnDisk } from "../emulator/snapshots.ts";
import { downloadPath, hasUnknownImage, readImage } from "../image/image.ts";
import type { Emulator } from "../instance/emulator.ts";
import { firmwareFor } from "../instance/machine.ts";
import type { QemuFacts } from "../vm/probe.ts";
import type { Finding } from "./finding.ts";

/** Looks at it, without reading all of it. @throws {HotbootError} if it is damaged, or lacks its firmware. */
export async function examineImage(
  emulator: Emulator,
  qemu: QemuFacts | undefined,
): Promise<{ findings: Finding[]; isThere: boolean }> {
  const here = { id: "image", title: "image" };
  const image = await readImage(emulator, { look: "only" });
  if (image) {
    if (qemu) await firmwareFor(emulator.arch, image.paths, qemu);
    const reason = `${image.paths.disk}, ${image.record.created}`;
    return { findings: [{ ...here, mark: "ok", reason }], isThere: true };
  }
  if (await hasUnknownImage(emulator)) {
    const reason = "not put there by hotboot: the next start adopts it";
    return { findings: [{ ...here, mark: "info", reason }], isThere: true };
  }
  const findings: Finding[] = [{ ...here, mark: "info", ...howGot(emulator) }];
  const begun = await sizeOnDisk(downloadPath(emulator));
  if (begun) {
    const reason = `a download broke off, of which ${formatBytes(begun.bytes)} are here: the next start continues it`;
    findings.push({ id: "download", mark: "info", title: "image", reason });
  }
  return { findings, isThere: false };
}

function howGot({ profile: { image } }: Emulator): { reason: string; fix?: string } {
  if (!image.release) return { reason: "none: the first start builds it with the profile's recipe" };
  const reason = `none: the first start downloads it from ${image.release.repository}`;
  return { reason, fix: "'hotboot doctor --online' asks whether it is there" };
}
