/** Unix sockets between hotboot and QEMU. */

import { HotbootError, isDiskFull, messageOf } from "../base/error.ts";
import { sleep, type WaitOptions } from "../base/wait.ts";

const RETRY_INTERVAL_MS = 20;
const DEFAULT_TIMEOUT_MS = 10_000;

/**
 * Connects to a unix socket, and waits for a place in its queue: QEMU's is short, and a connection that finds it full is
 * refused at once (EAGAIN, connect(2)).
 *
 * @throws {HotbootError} if there is no place within the limit, 10 s by default.
 */
export async function connectUnix(path: string, options: WaitOptions = {}): Promise<Deno.UnixConn> {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
  const end = performance.now() + timeoutMs;
  while (true) {
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      if (performance.now() > end) {
        throw new HotbootError(`${path} was busy with other commands for ${timeoutMs / 1000} s: try again`);
      }
    }
    await sleep(RETRY_INTERVAL_MS, signal);
  }
}

/** No unix socket can be made there. */
export class NoSocketError extends HotbootError {
  /** The system's reason. */
  readonly why: string;

  constructor(path: string, why: string) {
    super(`no socket can be made at ${path} (${why})`);
    this.why = why;
  }
}

/**
 * Listens on a unix socket, in place of the one that a killed program may have left there.
 *
 * @throws {NoSocketError} if the file system has none. The system's error if it is full.
 */
export async function listenUnix(path: string): Promise<Deno.UnixListener> {
  await Deno.remove(path).catch(() => {});
  try {
    return Deno.listen({ transport: "unix", path });
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable || isDiskFull(error)) throw error;
    throw new NoSocketError(path, messageOf(error));
  }
}
