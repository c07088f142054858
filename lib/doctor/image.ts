/** The image: whether there is one, and what a start does if not. */

import { formatBytes } from "../base/format.ts";
import { sizeOnDisk } from "../emulator/snapshots.ts";
import { downloadPath, hasUnknownImage, readImage } from "../image/image.ts";
import type { Emulator } from "../instance/emulator.ts";
import { firmwareFor } from "../instance/machine.ts";
import type { QemuFacts } from "../vm/probe.ts";
import { failed, type Finding } from "./finding.ts";

/** Looks at it, without reading all of it. */
export async function examineImage(
  emulator: Emulator,
  qemu: QemuFacts | undefined,
): Promise<{ findings: Finding[]; isThere: boolean }> {
  const here = { id: "image", title: "image" };
  const findings: Finding[] = [];
  let isThere = true; // a damaged one is not replaced by a start
  try {
    const image = await readImage(emulator, { look: "only" });
    isThere = image !== undefined || await hasUnknownImage(emulator);
    if (image) {
      findings.push({ ...here, mark: "ok", reason: `${image.paths.disk}, ${image.record.created}` });
      if (qemu) await firmwareFor(emulator.arch, image.paths, qemu);
    } else if (isThere) {
      findings.push({ ...here, mark: "info", reason: "not put there by hotboot: the next start adopts it" });
    } else findings.push({ ...here, mark: "info", ...howGot(emulator) });
  } catch (error) {
    emulator.signal.throwIfAborted();
    findings.push(failed("image", "image", error));
  }
  const begun = isThere ? undefined : await sizeOnDisk(downloadPath(emulator));
  if (begun) {
    const reason = `a download broke off, of which ${formatBytes(begun.bytes)} are here: the next start continues it`;
    findings.push({ id: "download", mark: "info", title: "image", reason });
  }
  return { findings, isThere };
}

function howGot({ profile: { image } }: Emulator): { reason: string; fix?: string } {
  if (!image.release) return { reason: "none: the first start builds it with the profile's recipe" };
  const reason = `none: the first start downloads it from ${image.release.repository}`;
  return { reason, fix: "'hotboot doctor --online' asks whether it is there" };
}
