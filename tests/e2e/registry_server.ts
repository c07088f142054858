/** Debian's registry, and a proxy in front of it that can disturb any request. */

import { until } from "./pace.ts";
import { freePort } from "./shared.ts";

/** Debian's `docker-registry`, with a directory of its own. */
export class RegistryServer implements AsyncDisposable {
  readonly port = freePort();
  #process?: Deno.ChildProcess;

  private constructor(readonly directory: string) {}

  /** @param auth The configuration's `auth:` section, for the directory and the port. */
  static async start(auth: (directory: string) => Promise<string> | string = () => ""): Promise<RegistryServer> {
    const server = new RegistryServer(await Deno.makeTempDir({ prefix: "hotboot-registry-" }));
    const { directory, port } = server;
    const path = `${directory}/config.yml`;
    await Deno.writeTextFile(
      path,
      `version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: ${directory}/data}}\n` +
        `http: {addr: "127.0.0.1:${port}", secret: tests}\n${await auth(directory)}`,
    );
    server.#process = new Deno.Command("docker-registry", { args: ["serve", path], stdout: "null", stderr: "null" })
      .spawn();
    await until(
      () => Deno.connect({ hostname: "127.0.0.1", port }).then((connection) => (connection.close(), true), () => false),
      "the registry",
    );
    return server;
  }

  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Where a blob is on its disk. */
  blobPath(digest: string): string {
    const hex = digest.replace("sha256:", "");
    return `${this.directory}/data/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process?.kill("SIGTERM");
    await this.#process?.status;
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** What a disturbance may do with a request: answer itself, or change the registry's answer. */
export type Disturb = (
  request: Request,
  forward: () => Promise<Response>,
) => Promise<Response | undefined> | Response | undefined;

/** Passes requests on to a registry, and counts what it sends back. */
export class FaultyProxy implements AsyncDisposable {
  readonly seen: { method: string; path: string; authorization: string | null; bytes: number }[] = [];
  disturb?: Disturb;
  #server: Deno.HttpServer<Deno.NetAddr>;
  #upstream: string;
  #stop = new AbortController();

  constructor(upstream: string) {
    this.#upstream = upstream;
    this.#server = Deno.serve(
      {
        hostname: "127.0.0.1",
        port: 0,
        onListen: () => {},
        signal: this.#stop.signal,
        onError: () => new Response(null, { status: 502 }),
      },
      (request) => this.#answer(request),
    );
  }

  get host(): string {
    return `127.0.0.1:${this.#server.addr.port}`;
  }

  /** Blobs that came through, and their bytes. */
  get blobs(): { count: number; bytes: number } {
    const all = this.seen.filter(({ method, path, bytes }) =>
      method === "GET" && path.includes("/blobs/") && bytes > 0
    );
    return { count: all.length, bytes: all.reduce((sum, { bytes }) => sum + bytes, 0) };
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    const entry = {
      method: request.method,
      path: pathname + search,
      authorization: request.headers.get("authorization"),
      bytes: 0,
    };
    this.seen.push(entry);
    const body = await request.arrayBuffer();
    const forward = async () => {
      const headers = new Headers(request.headers);
      headers.delete("content-length");
      const answer = await fetch(`http://${this.#upstream}${pathname}${search}`, {
        method: request.method,
        headers, // with the proxy's name as host, so that the registry's addresses lead back here
        body: ["GET", "HEAD"].includes(request.method) ? undefined : body,
        redirect: "manual",
      });
      const bytes = await answer.arrayBuffer();
      const kept = new Headers(answer.headers);
      const location = kept.get("location");
      if (location) kept.set("location", location.replace(this.#upstream, this.host));
      return new Response(bytes.byteLength > 0 ? bytes : null, { status: answer.status, headers: kept });
    };
    const disturbed = await this.disturb?.(request, forward);
    if (disturbed) return disturbed;
    const answer = await forward();
    entry.bytes = request.method === "GET" ? Number(answer.headers.get("content-length") ?? 0) : 0;
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#server.finished.catch(() => {});
  }
}
