/** A registry of npm's, as far as publishing and installing ask for it. */

import { decodeBase64 } from "@std/encoding/base64";

interface Version {
  name: string;
  version: string;
  dist: { tarball: string };
}

interface Published {
  name: string;
  versions: Record<string, Version>;
  "dist-tags": Record<string, string>;
  _attachments: Record<string, { data: string }>;
}

export class NpmRegistry implements AsyncDisposable {
  /** What was published, in this order. */
  readonly published: string[] = [];
  readonly #packages = new Map<string, Published>();
  readonly #tarballs = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => this.#answer(request),
  );

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/`;
  }

  /** A package of this name, as its newest version describes it. */
  get(name: string): Version & Record<string, unknown> {
    const { versions } = this.#packages.get(name)!;
    return Object.values(versions)[0] as Version & Record<string, unknown>;
  }

  async #answer(request: Request): Promise<Response> {
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (request.method === "PUT") return this.#publish(await request.json());
    const tarball = this.#tarballs.get(name);
    if (tarball) return new Response(tarball);
    const found = this.#packages.get(name);
    return found ? Response.json(found) : Response.json({ error: "Not found" }, { status: 404 });
  }

  #publish({ _attachments, ...described }: Published): Response {
    for (const { name, version, dist } of Object.values(described.versions)) {
      if (this.#packages.has(name)) return Response.json({ error: "it is there already" }, { status: 409 });
      const [{ data }] = Object.values(_attachments);
      dist.tarball = `${this.url}-/${name}.tgz`;
      this.#tarballs.set(`-/${name}.tgz`, decodeBase64(data));
      this.published.push(`${name}@${version} ${Object.keys(described["dist-tags"])}`);
      this.#packages.set(name, { ...described, _attachments: {} });
    }
    return Response.json({ ok: true }, { status: 201 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}
