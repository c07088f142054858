/** The parts of GitHub's API that hotboot uses, with storage on a second origin behind signed addresses. */

import { snappyCompress } from "hysnappy";
import { StorageServer } from "./storage_server.ts";

export const REPOSITORY = "acme/emulator";
export const TOKEN = "ghp_a_token_that_must_stay_here";

interface Asset {
  name: string;
  bytes: Uint8Array;
}

/** A request that arrived. */
export interface ApiSeen {
  path: string;
  authorization: string | null;
}

export class GitHubServer implements AsyncDisposable {
  readonly storage = new StorageServer({ signed: true });
  readonly seen: ApiSeen[] = [];
  /** If it returns a response, that replaces the API's answer. */
  intercept?: (path: string, request: Request) => Response | undefined;
  /** Without the token, nothing is found. */
  isPrivate = false;
  /** Assets have no digest, like old ones. */
  withoutDigests = false;
  #server: Deno.HttpServer<Deno.NetAddr>;
  #releases = new Map<string, { assets: Asset[]; published: string; prerelease: boolean }>();
  #runs = new Map<
    number,
    {
      branch: string;
      repository: string | null;
      created: string;
      artifacts: Asset[];
      expired: boolean;
      sha: string;
      size?: number;
    }
  >();
  #attestations = new Map<string, { bundle: unknown; bundle_url: string | null }[]>();
  #pulls = new Map<number, { branch: string; repository: string | null }>();

  constructor(readonly repository: string = REPOSITORY) {
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      (request) => this.#answer(request),
    );
  }

  get api(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  release(tag: string, assets: Asset[], { published = "2026-05-06T07:08:09Z", prerelease = false } = {}): void {
    this.#releases.set(tag, { assets, published, prerelease });
  }

  run(
    id: number,
    artifacts: Asset[],
    {
      branch = "feature",
      repository = REPOSITORY as string | null,
      created = "2026-05-07T00:00:00Z",
      expired = false,
      sha = "",
      size = undefined as number | undefined,
    } = {},
  ): void {
    this.#runs.set(id, { branch, repository, created, artifacts, expired, sha, size });
  }

  /** `repository`: null if it was deleted. The head's commit is `sha-NUMBER`. */
  pullRequest(number: number, branch: string, repository: string | null = REPOSITORY): void {
    this.#pulls.set(number, { branch, repository });
  }

  /** What attests a file. @param options `isStored`: in the storage, packed, and not in the answer itself. */
  attest(digest: string, bundle: unknown, { isStored = false } = {}): void {
    const all = this.#attestations.get(digest) ?? [];
    const path = `/attestations/${digest.slice(7, 15)}-${all.length}.json.sn`;
    if (isStored) {
      const bytes = snappyCompress(new TextEncoder().encode(JSON.stringify(bundle)));
      this.storage.files.set(path, { bytes, etag: `"${path}"` });
    }
    all.push(isStored ? { bundle: null, bundle_url: this.storage.sign(path) } : { bundle, bundle_url: null });
    this.#attestations.set(digest, all);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
    await this.storage[Symbol.asyncDispose]();
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const path = url.pathname + url.search;
    const authorization = request.headers.get("authorization");
    this.seen.push({ path, authorization });
    const intercepted = this.intercept?.(path, request);
    if (intercepted) return intercepted;
    if (this.isPrivate && authorization !== `Bearer ${TOKEN}`) return notFound();
    const [, repository, rest] = url.pathname.match(/^\/repos\/([^/]+\/[^/]+)\/(.+)$/) ?? [];
    if (repository !== this.repository) return notFound();

    const tag = rest.match(/^releases\/tags\/(.+)$/)?.[1];
    if (tag) {
      const release = this.#releases.get(decodeURIComponent(tag));
      return release ? Response.json(await this.#describe(decodeURIComponent(tag), release)) : notFound();
    }
    if (rest === "releases") {
      const all = await Promise.all([...this.#releases].map(([name, release]) => this.#describe(name, release)));
      return Response.json(pageOf(all, url));
    }
    const asset = rest.match(/^releases\/assets\/(.+)$/)?.[1];
    if (asset) return this.#redirect(`/releases/${asset}`, request);

    const attestations = this.#attestations.get(rest.match(/^attestations\/(.+)$/)?.[1] ?? "");
    if (attestations) return Response.json({ attestations });

    const number = Number(rest.match(/^pulls\/(\d+)$/)?.[1]);
    const pull = this.#pulls.get(number);
    if (pull) return Response.json({ head: { ref: pull.branch, sha: `sha-${number}`, repo: owned(pull.repository) } });
    if (/^actions\/workflows\/build\.yaml\/runs$/.test(rest)) {
      const runs = [...this.#runs].filter(([, { branch }]) => branch === url.searchParams.get("branch"));
      return Response.json({
        workflow_runs: pageOf(runs, url).map(([id, run]) => ({
          id,
          head_branch: run.branch,
          head_sha: run.sha,
          created_at: run.created,
          head_repository: owned(run.repository),
        })),
      });
    }
    const run = Number(rest.match(/^actions\/runs\/(\d+)\/artifacts$/)?.[1]);
    if (run) {
      const found = this.#runs.get(run);
      if (!found) return notFound();
      const artifacts = await Promise.all(found.artifacts.map(async ({ name, bytes }, index) => {
        const path = await this.#store(`/artifacts/${run * 100 + index}`, bytes);
        return {
          id: run * 100 + index,
          name,
          size_in_bytes: found.size ?? bytes.length,
          digest: await this.#digest(bytes),
          archive_download_url: `${this.api}/repos/${this.repository}/actions${path}/zip`,
          expired: found.expired,
          created_at: found.created,
        };
      }));
      return Response.json({ artifacts: artifacts.filter(({ name }) => name === url.searchParams.get("name")) });
    }
    const artifact = rest.match(/^actions(\/artifacts\/\d+)\/zip$/)?.[1];
    if (artifact) {
      if (authorization !== `Bearer ${TOKEN}`) {
        return Response.json({ message: "Requires authentication" }, { status: 401 });
      }
      return this.#redirect(artifact, request);
    }
    return notFound();
  }

  async #describe(
    tag: string,
    { assets, published, prerelease }: { assets: Asset[]; published: string; prerelease: boolean },
  ) {
    return {
      tag_name: tag,
      name: tag,
      draft: false,
      prerelease,
      published_at: published,
      assets: await Promise.all(assets.map(async ({ name, bytes }) => {
        const path = await this.#store(`/releases/${tag}/${name}`, bytes);
        return {
          name,
          size: bytes.length,
          digest: await this.#digest(bytes),
          url: `${this.api}/repos/${this.repository}${path.replace("/releases/", "/releases/assets/")}`,
          updated_at: published,
        };
      })),
    };
  }

  async #store(path: string, bytes: Uint8Array): Promise<string> {
    if (this.storage.files.get(path)?.bytes !== bytes) {
      this.storage.files.set(path, { bytes, etag: `"${(await digest(bytes)).slice(7, 39)}"` });
    }
    return path;
  }

  async #digest(bytes: Uint8Array): Promise<string | null> {
    return this.withoutDigests ? null : await digest(bytes);
  }

  #redirect(path: string, request: Request): Response {
    if (request.headers.get("accept") !== "application/octet-stream") return Response.json({ message: "metadata" });
    return new Response(null, { status: 302, headers: { location: this.storage.sign(path) } });
  }
}

function pageOf<T>(all: T[], { searchParams }: URL): T[] {
  const [page, size] = [Number(searchParams.get("page") ?? 1), Number(searchParams.get("per_page") ?? 30)];
  return all.slice((page - 1) * size, page * size);
}

function owned(repository: string | null) {
  return repository === null ? null : { full_name: repository };
}

const digests = new WeakMap<Uint8Array, string>();

async function digest(bytes: Uint8Array): Promise<string> {
  const known = digests.get(bytes);
  if (known) return known;
  const { encodeHex } = await import("@std/encoding/hex");
  const made = `sha256:${encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice())))}`;
  digests.set(bytes, made);
  return made;
}

function notFound(): Response {
  return Response.json({ message: "Not Found" }, { status: 404 });
}
