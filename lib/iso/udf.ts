/** Images whose files are in a UDF file system, beside an ISO 9660 one that has nothing but a note: Windows' discs. */

import { quoted } from "../base/printable.ts";
import { FLAG_DIRECTORY, SECTOR } from "./ecma119.ts";
import { decodeName, type DirectoryRecord, directoryRecords, type Extent, isReference, latin1 } from "./records.ts";
import { type IsoSource, readBytes } from "./source.ts";

/** How far behind the volume descriptors those of UDF are looked for; nothing but a writer's note stands between. */
const SECTORS = 16;

/**
 * What to say of an image whose files are in a UDF file system, if it is one.
 *
 * @param from The sector behind the volume descriptors.
 * @param root The ISO 9660 view's root directory.
 */
export async function udfWarning(source: IsoSource, from: number, root: Extent): Promise<string | undefined> {
  if (!await hasUdf(source, from)) return undefined;
  const children: DirectoryRecord[] = [];
  for await (const record of directoryRecords(source, "", root, new Set())) {
    if (isReference(record)) continue;
    children.push(record);
    if (children.length > 1 || record.flags & FLAG_DIRECTORY) return undefined; // the same files are in both
  }
  const [only = "nothing"] = children.map(({ identifier }) => `only ${quoted(decodeName(identifier, false))}`);
  return `the image has a UDF file system, too, which hotboot cannot read. Its ISO 9660 part has ${only}` +
    ": if there should be more, mount the image";
}

/** Whether one of the descriptors that follow is UDF's (ECMA-167, part 3, 9.1). */
async function hasUdf(source: IsoSource, from: number): Promise<boolean> {
  const bytes = await readBytes(
    source,
    from * SECTOR,
    Math.max(0, Math.min(SECTORS * SECTOR, source.size - from * SECTOR)),
  );
  for (let at = 0; at < bytes.length; at += SECTOR) {
    if (/^NSR0[23]$/.test(latin1(bytes.subarray(at + 1, at + 6)))) return true;
  }
  return false;
}
