/**
 * Downloads that survive networks and servers: broken connections, stalls, expired addresses, servers that ignore ranges.
 * They end with exactly the right bytes, or with an error that says why not.
 *
 * @module
 */

import { PartFile } from "./part_file.ts";
import { type Download, type DownloadOptions, WrongContent } from "./options.ts";
import { Transfer } from "./transfer.ts";

const MOST_ROUNDS = 3;
const PROGRESS_INTERVAL_MS = 100;

/**
 * Downloads a file to `path`, and continues what an earlier attempt left there.
 *
 * Needs net permission for the hosts that the request leads to; read and write permission for the path and the state file
 * beside it; sys permission for `statfs`.
 *
 * @param path The file; its state is in `PATH.json` beside it. The file is complete and right on return.
 * @param what Where it is, and what it must be.
 * @param options The limits, and who gets progress.
 * @returns Its size in bytes and its SHA-256 in hex.
 * @throws {HotbootError} if it cannot be downloaded, there is no space, or it is not what it must be; in the last case nothing
 * is left of it.
 * @throws The reason of the options' signal, if it aborts.
 *
 * @example
 * ```ts
 * import { download } from "@hotboot/hotboot";
 *
 * const { size, sha256 } = await download("image.qcow2.part", {
 *   name: "image.qcow2",
 *   request: { url: "https://example.com/image.qcow2" },
 * });
 * console.log(size, sha256);
 * ```
 */
export async function download(
  path: string,
  what: Download,
  options: DownloadOptions = {},
): Promise<{ size: number; sha256: string }> {
  const { signal, onProgress, onTrouble } = options;
  const part = await PartFile.open(
    path,
    JSON.stringify([what.sha256 ?? what.version ?? what.request.url, what.size ?? -1]),
  );
  let acceptsRanges = true;
  for (let round = 1;; round++) {
    const transfer: Transfer = new Transfer(part, what, options, acceptsRanges);
    try {
      const timer = setInterval(
        () => onProgress?.(transfer.received, part.size < 0 ? NaN : part.size),
        PROGRESS_INTERVAL_MS,
      );
      try {
        await transfer.run();
      } finally {
        clearInterval(timer);
      }
      await transfer.digest.catchUp(part.size, signal);
      const sha256 = transfer.digest.hex();
      if (what.sha256 !== undefined && sha256 !== what.sha256) {
        throw new WrongContent(
          `${what.name}: its SHA-256 is ${sha256} instead of ${what.sha256}: try again, or ask who publishes it`,
        );
      }
      onProgress?.(part.size, part.size);
      return { size: part.size, sha256 };
    } catch (error) {
      if (!(error instanceof WrongContent)) throw error;
      await part.remove();
      if (round === MOST_ROUNDS) throw error;
      acceptsRanges = transfer.acceptsRanges;
      onTrouble?.(`${error.message}; starting over`);
    }
  }
}
