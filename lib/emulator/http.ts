/**
 * HTTP requests to the guest's forwarded ports.
 *
 * Not `fetch`: that goes through the proxy that HTTP_PROXY names, even to this host, and takes longer to get ready than
 * the guest takes to answer.
 */

import { HotbootError } from "../error.ts";

const LONGEST_STATUS_LINE = 1024;

/**
 * The status of the answer to a GET request.
 *
 * @throws {HotbootError} when what answers is no HTTP server.
 * @throws {Deno.errors.ConnectionRefused | Deno.errors.ConnectionReset} and the like; the signal's reason when it aborts.
 */
export async function getStatus(port: number, path: string, signal: AbortSignal): Promise<number> {
  signal.throwIfAborted();
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const abort = () => connection.close(); // ends a read under way
  signal.addEventListener("abort", abort, { once: true });
  try {
    const request = `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAccept: */*\r\nConnection: close\r\n\r\n`;
    const bytes = new TextEncoder().encode(request);
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    const answer = new Uint8Array(LONGEST_STATUS_LINE);
    for (let got = 0; got < answer.length;) {
      const read = await connection.read(answer.subarray(got));
      if (read === null) throw new HotbootError("it closed the connection without an answer");
      got += read;
      const line = new TextDecoder("latin1").decode(answer.subarray(0, got));
      if (!line.includes("\n")) continue;
      const status = line.match(/^HTTP\/1\.[01] (\d{3})[ \r\n]/)?.[1];
      if (!status) break;
      return Number(status);
    }
    throw new HotbootError("it does not answer as an HTTP server does");
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
