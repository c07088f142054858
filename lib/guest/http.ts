/**
 * HTTP requests to the guest's forwarded ports.
 *
 * Not `fetch`: it uses the proxy in HTTP_PROXY even for this host, and takes longer to initialize than the guest takes to
 * answer.
 */

import { concat } from "@std/bytes/concat";
import { HotbootError } from "../base/error.ts";
import { within } from "../base/wait.ts";
import { pieces, writeAll } from "../base/io.ts";
import { Turns } from "../base/turns.ts";

/**
 * How many requests to one port run at once. QEMU's user network listens with a backlog of 1 (libslirp's tcpx_listen), so
 * the host's kernel queues two connections, drops any more, and retries those a second later.
 */
export const AT_ONCE = 2;
/** A connection that got lost while the guest's network came up never gets an answer. */
const TIMEOUT_MS = 3000;
const LONGEST_HEAD = 64 * 1024;
const LONGEST_BODY = 64 * 1024 * 1024;
const LONGEST_CHUNK_LINE = 1024;

/** A request to 127.0.0.1. */
export interface GuestRequest {
  port: number;
  /** Path and query. */
  path: string;
  /** GET by default. */
  method?: string;
  headers?: Record<string, string>;
  /** The body to send. */
  body?: string;
  /** The limit for the answer, in milliseconds, from when the request's turn comes; 3000 by default. */
  timeoutMs?: number;
}

/** The answer. */
export interface GuestAnswer {
  status: number;
  /** As UTF-8. */
  body: string;
}

/**
 * The status of the answer; does not wait for its body.
 *
 * @throws {HotbootError} if the answer is not HTTP, or does not come in time.
 * @throws {Deno.errors.ConnectionRefused | Deno.errors.ConnectionReset} and the like; the signal's reason if it aborts.
 */
export async function getStatus(request: GuestRequest, signal: AbortSignal): Promise<number> {
  return await exchange(request, signal, async (bytes) => (await readHead(bytes)).status);
}

/** The whole answer. Throws the same errors. */
export async function getAnswer(request: GuestRequest, signal: AbortSignal): Promise<GuestAnswer> {
  return await exchange(request, signal, async (bytes) => {
    const { status, headers, rest } = await readHead(bytes);
    const isChunked = /^transfer-encoding:.*\bchunked\s*$/im.test(headers);
    const length = Number(headers.match(/^content-length:\s*(\d+)\s*$/im)?.[1] ?? NaN);
    const parts = [rest];
    let got = rest.length;
    while (isChunked || !(got >= length)) { // the server may keep the connection open although asked to close it
      const { value, done } = await bytes.next();
      if (done) break;
      parts.push(value.slice());
      got += value.length;
      if (got > LONGEST_BODY) throw new HotbootError(`the answer is longer than ${LONGEST_BODY} bytes`);
    }
    if (!isChunked && got < length) throw new HotbootError(`the answer ended after ${got} of ${length} bytes`);
    const body = isChunked ? joinChunks(concat(parts)) : concat(parts);
    return { status, body: new TextDecoder().decode(body) };
  });
}

async function exchange<T>(
  { port, path, method = "GET", headers = {}, body = "", timeoutMs = TIMEOUT_MS }: GuestRequest,
  userSignal: AbortSignal,
  read: (bytes: AsyncGenerator<Uint8Array>) => Promise<T>,
): Promise<T> {
  using _turn = await turnsAt(port).take(userSignal);
  const limit = AbortSignal.timeout(timeoutMs);
  const signal = AbortSignal.any([userSignal, limit]);
  let abort = () => {};
  try {
    using connection = await connect(port, signal);
    abort = () => connection.close(); // ends a pending read
    signal.addEventListener("abort", abort, { once: true });
    const content = new TextEncoder().encode(body);
    const lines = [
      `${method} ${path} HTTP/1.1`,
      `Host: 127.0.0.1:${port}`,
      "Accept: */*",
      "Connection: close",
      ...(method === "GET" && body === "" ? [] : [`Content-Length: ${content.length}`]),
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ];
    const head = new TextEncoder().encode(lines.join("\r\n") + "\r\n\r\n");
    await writeAll(connection, concat([head, content]));
    return await read(pieces(connection, 64 * 1024));
  } catch (error) {
    userSignal.throwIfAborted();
    if (limit.aborted) throw new HotbootError(`no answer within ${timeoutMs / 1000} s`);
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

async function connect(port: number, signal: AbortSignal): Promise<Deno.TcpConn> {
  const connecting = Deno.connect({ hostname: "127.0.0.1", port });
  try {
    return await within(connecting, "a connection", { signal });
  } catch (error) {
    connecting.then((late) => late.close(), () => {});
    throw error;
  }
}

const turns = new Map<number, Turns>();

function turnsAt(port: number): Turns {
  if (!turns.has(port)) turns.set(port, new Turns(AT_ONCE));
  return turns.get(port)!;
}

/** The final answer's status line and header fields, and the bytes after them. */
async function readHead(
  bytes: AsyncGenerator<Uint8Array>,
): Promise<{ status: number; headers: string; rest: Uint8Array }> {
  let got: Uint8Array = new Uint8Array();
  while (got.length < LONGEST_HEAD) {
    const text = new TextDecoder("latin1").decode(got);
    if (text.includes("\n")) {
      const status = text.match(/^HTTP\/1\.[01] (\d{3})[ \r\n]/)?.[1];
      if (!status) break;
      const end = text.indexOf("\r\n\r\n");
      if (end >= 0) {
        const rest = got.slice(end + 4);
        if (!status.startsWith("1")) return { status: Number(status), headers: text.slice(0, end), rest };
        got = rest; // RFC 9110, section 15.2: the final answer is still to come
        continue;
      }
    }
    const { value, done } = await bytes.next();
    if (done) throw new HotbootError("the service closed the connection without an answer");
    got = concat([got, value]); // a copy: the next read overwrites the piece
  }
  throw new HotbootError("the answer is not HTTP");
}

/** Source: RFC 9112, section 7.1. */
function joinChunks(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0;;) {
    const end = bytes.indexOf(0x0a, at);
    const text = new TextDecoder().decode(bytes.subarray(at, Math.min(end, at + LONGEST_CHUNK_LINE)));
    const size = parseInt(text.match(/^[0-9a-f]+/i)?.[0] ?? "", 16); // no sign: the place would go back
    if (end < 0 || !(end + 1 + size <= bytes.length)) throw new HotbootError("the answer ended within a chunk");
    if (size === 0) return concat(parts);
    parts.push(bytes.subarray(end + 1, end + 1 + size));
    at = end + 1 + size + "\r\n".length;
  }
}
