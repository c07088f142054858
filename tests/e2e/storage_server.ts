/**
 * A file server that behaves like GitHub's storage (ranges, ETags, signed addresses that expire) or misbehaves
 * on request, down to the bytes on the wire.
 */

/** What a request gets instead of what it asks for. */
export interface Fault {
  /** This status, with an empty body. */
  status?: number;
  /** Headers that are added or replaced; an empty value removes one. */
  headers?: Record<string, string>;
  /** The connection ends after this many bytes of the body. */
  cutAfter?: number;
  /** Silence after this many bytes of the body, until the client goes. */
  stallAfter?: number;
  /** Bytes are wrong from this offset in the file. */
  corruptFrom?: number;
  /** The whole file with status 200, whatever the requested range. */
  ignoreRange?: boolean;
  /** A web page with status 200. */
  html?: boolean;
  /** The stated length is off by this much. */
  lengthOff?: number;
  /** The total in Content-Range is off by this much. */
  totalOff?: number;
  /** No Content-Length and no ranges: the end of the connection is the end of the file. */
  noLength?: boolean;
  /** From now on, the file is another one of the same size. */
  change?: boolean;
}

/** A request that arrived. */
export interface Seen {
  path: string;
  headers: Headers;
}

/** One file. */
export interface StoredFile {
  bytes: Uint8Array;
  etag: string;
}

export interface StorageOptions {
  /** Called with each request; returns that request's fault. */
  fault?: (seen: Seen) => Fault | undefined;
  /** Bytes per second on one connection. */
  bytesPerSecond?: number;
  /** Further connections are refused while this many are open. */
  connections?: number;
  /** Requests need `?sig=` with a number of at least this; see {@linkcode StorageServer.sign}. */
  signed?: boolean;
  /** `If-Range` is ignored. */
  ignoreConditions?: boolean;
}

export class StorageServer implements AsyncDisposable {
  readonly files = new Map<string, StoredFile>();
  readonly seen: Seen[] = [];
  options: StorageOptions;
  /** Signatures below this have expired. */
  oldestSignature = 0;
  #listener: Deno.TcpListener;
  #connections = new Set<Deno.TcpConn>();
  #signature = 0;
  #serving: Promise<void>;
  #closed = false;

  constructor(options: StorageOptions = {}) {
    this.options = options;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.#serving = this.#accept();
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#listener.addr.port}`;
  }

  /** The address of a file, with a signature if the server requires one. */
  sign(path: string): string {
    return `${this.origin}${path}${this.options.signed ? `?sig=${++this.#signature}` : ""}`;
  }

  /** Makes all signatures so far expire. */
  expire(): void {
    this.oldestSignature = this.#signature + 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.close();
    for (const connection of this.#connections) this.#close(connection);
    await this.#serving;
  }

  async #accept(): Promise<void> {
    try {
      for await (const connection of this.#listener) {
        this.#connections.add(connection);
        this.#serve(connection).catch(() => {}).finally(() => {
          this.#connections.delete(connection);
          this.#close(connection);
        });
      }
    } catch {
      // it is closed already
    }
  }

  #close(connection: Deno.TcpConn): void {
    try {
      connection.close();
    } catch {
      // it is closed already
    }
  }

  async #serve(connection: Deno.TcpConn): Promise<void> {
    const seen = await readRequest(connection);
    if (!seen) return;
    this.seen.push(seen);
    const tooMany = this.#connections.size > (this.options.connections ?? Infinity);
    await this.#answer(connection, seen, tooMany ? { status: 503 } : this.options.fault?.(seen) ?? {});
  }

  async #answer(connection: Deno.TcpConn, seen: Seen, fault: Fault): Promise<void> {
    const url = new URL(seen.path, this.origin);
    if (fault.status !== undefined) {
      return await head(connection, fault.status, { "content-length": "0", ...fault.headers });
    }
    if (fault.html) {
      const page = new TextEncoder().encode("<html>sign in, please</html>");
      await head(connection, 200, { "content-type": "text/html", "content-length": String(page.length) });
      return await writeAll(connection, page);
    }
    if (this.options.signed && !(Number(url.searchParams.get("sig")) >= this.oldestSignature)) {
      return await head(connection, 403, { "content-length": "0" });
    }
    const file = this.files.get(url.pathname);
    if (!file) return await head(connection, 404, { "content-length": "0" });
    if (fault.change) {
      file.bytes = file.bytes.map((byte) => byte ^ 0x5a);
      file.etag = `"changed-${file.etag.slice(1)}`;
    }

    const size = file.bytes.length;
    const [, from, to] = seen.headers.get("range")?.match(/^bytes=(\d+)-(\d*)$/) ?? [];
    const condition = this.options.ignoreConditions ? null : seen.headers.get("if-range");
    const isRange = from !== undefined && (condition === null || condition === file.etag) && !fault.ignoreRange &&
      !fault.noLength;
    if (isRange && Number(from) >= size) {
      return await head(connection, 416, { "content-range": `bytes */${size}`, "content-length": "0" });
    }
    const start = isRange ? Number(from) : 0;
    const end = isRange && to ? Math.min(Number(to) + 1, size) : size;
    const headers: Record<string, string> = { etag: file.etag, "content-type": "application/octet-stream" };
    if (!fault.noLength) headers["content-length"] = String(end - start + (fault.lengthOff ?? 0));
    if (!fault.noLength && !fault.ignoreRange) headers["accept-ranges"] = "bytes";
    if (isRange) headers["content-range"] = `bytes ${start}-${end - 1}/${size + (fault.totalOff ?? 0)}`;
    Object.assign(headers, fault.headers);
    await head(connection, isRange ? 206 : 200, headers);

    const { bytesPerSecond = Infinity } = this.options;
    const piece = Math.max(1, Math.min(256 * 1024, Math.floor(bytesPerSecond / 20)));
    for (let at = start; at < end && !this.#closed;) {
      const sent = at - start;
      if (fault.cutAfter !== undefined && sent >= fault.cutAfter) return;
      if (fault.stallAfter !== undefined && sent >= fault.stallAfter) {
        return void await connection.read(new Uint8Array(1));
      }
      const until = Math.min(
        end,
        at + piece,
        start + (fault.cutAfter ?? Infinity),
        start + (fault.stallAfter ?? Infinity),
      );
      let bytes = file.bytes.subarray(at, until);
      if (fault.corruptFrom !== undefined && until > fault.corruptFrom) {
        bytes = bytes.map((byte, index) => at + index >= fault.corruptFrom! ? byte ^ 1 : byte);
      }
      await writeAll(connection, bytes);
      if (bytesPerSecond !== Infinity) {
        await new Promise((resolve) => setTimeout(resolve, (1000 * bytes.length) / bytesPerSecond));
      }
      at = until;
    }
  }
}

async function readRequest(connection: Deno.TcpConn): Promise<Seen | undefined> {
  const buffer = new Uint8Array(16384);
  let text = "";
  while (!text.includes("\r\n\r\n")) {
    const got = await connection.read(buffer);
    if (got === null) return undefined;
    text += new TextDecoder().decode(buffer.subarray(0, got));
  }
  const [first, ...lines] = text.split("\r\n\r\n")[0].split("\r\n");
  const headers = new Headers(lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  }));
  return { path: first.split(" ")[1], headers };
}

async function head(connection: Deno.TcpConn, status: number, headers: Record<string, string>): Promise<void> {
  const given = Object.entries({ connection: "close", ...headers }).filter(([, value]) => value !== "");
  const lines = given.map(([name, value]) => `${name}: ${value}\r\n`);
  await writeAll(connection, new TextEncoder().encode(`HTTP/1.1 ${status} Status\r\n${lines.join("")}\r\n`));
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}
