/**
 * The parts of GitHub's API that hotboot uses: releases, pull requests, workflow runs and their artifacts.
 *
 * Source: GitHub REST API, version 2022-11-28.
 *
 * @module
 */

import { HotbootError, messageOf } from "../base/error.ts";
import { sleep } from "../base/wait.ts";
import { getPatiently, hostOf, type HttpRequest, isUsedUp, retryAfter, type RetryOptions, serverTime } from "./http.ts";
import type { Network } from "./network.ts";
import { GITHUB_API, tokenVariables } from "./token.ts";

/** A file of a release. */
export interface ReleaseAsset {
  /** Its name. */
  name: string;
  /** Bytes. */
  size: number;
  /** `sha256:` and 64 hex digits, if GitHub knows it. */
  digest?: string | null;
  /** Its address in the API. */
  url: string;
  /** When it was last changed, ISO 8601. */
  updated_at: string;
}

/** A release. */
export interface Release {
  /** Its tag. */
  tag_name: string;
  /** Its title. */
  name: string | null;
  /** Not published yet. */
  draft: boolean;
  /** Not meant for everybody. */
  prerelease: boolean;
  /** When it was published, ISO 8601. */
  published_at: string | null;
  /** Its files. */
  assets: ReleaseAsset[];
}

/** A zip file that a workflow run produced. */
export interface Artifact {
  /** Its number. */
  id: number;
  /** Its name. */
  name: string;
  /** Bytes of the zip file; without a digest, bytes of the files in it. */
  size_in_bytes: number;
  /** `sha256:` and 64 hex digits of the zip file, if GitHub knows it. */
  digest?: string | null;
  /** The zip file's address in the API. */
  archive_download_url: string;
  /** It has been deleted. */
  expired: boolean;
  /** When it was created, ISO 8601. */
  created_at: string;
}

/** A finished run of a workflow. */
export interface WorkflowRun {
  /** Its number. */
  id: number;
  /** The branch that it ran for. */
  head_branch: string | null;
  /** When it was created, ISO 8601. */
  created_at: string;
  /** The repository of that branch; null if it was deleted. */
  head_repository?: { full_name: string } | null;
  /** The commit that it ran for. */
  head_sha: string;
}

/** How to reach GitHub. */
export interface GitHubOptions {
  /** The API's address; `https://api.github.com` by default. */
  api?: string;
  /** A token, and its source, for messages. It is sent only by https, or to this machine. */
  token?: { value: string; from: string };
  /** Aborts all requests. */
  signal?: AbortSignal;
  /** When and how often to try again. */
  retry?: RetryOptions;
  /** The way to the server. */
  network?: Network;
}

/** What GitHub knows of who built a file: a Sigstore bundle, or the address of one. */
interface Attestation {
  bundle?: unknown;
  bundle_url?: string | null;
}

/** The most bytes that a bundle may have, packed and unpacked. */
const LONGEST_BUNDLE = 2 ** 20;
/** Provenance in the only form that GitHub's own action writes. */
const PROVENANCE = "https://slsa.dev/provenance/v1";
/** If the rate limit is lifted sooner than this, wait for it. */
const SHORT_WAIT_MS = 10_000;
const PAGE = 100;
const MOST_PAGES = 20;

/**
 * GitHub's API, or a compatible one. Requests fail with a {@linkcode HotbootError} if the object does not exist, may not be
 * read, or there is no answer after several attempts; and with the signal's reason if it aborts.
 *
 * Needs net permission for the API's host. Does not read the environment: it uses the given token or none.
 *
 * @example
 * ```ts
 * import { GitHub } from "@hotboot/hotboot";
 *
 * const github = new GitHub();
 * const { tag_name, assets } = await github.release("denoland/deno", "v2.0.0");
 * console.log(tag_name, assets.map(({ name }) => name));
 * ```
 */
export class GitHub {
  #api: string;
  #options: GitHubOptions;

  /** Sends nothing yet. @throws {HotbootError} if the address or the token is invalid. */
  constructor(options: GitHubOptions = {}) {
    const { api = GITHUB_API, token } = options;
    if (!/^https?:$/.test(URL.parse(api)?.protocol ?? "")) {
      throw new HotbootError(`HOTBOOT_GITHUB_API is '${api}', which is not an http address: correct or unset it`);
    }
    if (token && !/^[\x21-\x7e]+$/.test(token.value)) { // a header cannot hold it
      throw new HotbootError(
        `the token from ${token.from} contains a space or another invalid character: correct it`,
      );
    }
    this.#api = api.replace(/\/+$/, "");
    this.#options = options;
  }

  /** The variable to set for a token. */
  get #variable(): string {
    return tokenVariables(this.#api)[0];
  }

  /** True if requests carry a token. */
  get hasToken(): boolean {
    return this.#options.token !== undefined;
  }

  /** A release by its tag. @throws {HotbootError} if there is none, or it may not be read. */
  async release(repository: string, tag: string): Promise<Release> {
    const path = `/repos/${repository}/releases/tags/${tag.split("/").map(encodeURIComponent).join("/")}`;
    return await this.#json(path, `release '${tag}' of ${repository}`, isRelease);
  }

  /** All releases, newest first; at most 2000. @throws {HotbootError} if they may not be read. */
  async releases(repository: string): Promise<Release[]> {
    const releases: Release[] = [];
    for (let page = 1; page <= MOST_PAGES; page++) {
      const path = `/repos/${repository}/releases?${pageQuery(page)}`;
      const isList = (found: Release[]) => Array.isArray(found) && found.every(isRelease);
      const found = await this.#json(path, `the releases of ${repository}`, isList);
      releases.push(...found);
      if (found.length < PAGE) break;
    }
    return releases;
  }

  /** The latest successful run of a workflow for a pull request's branch. @throws {HotbootError} if there is none. */
  async runOfPullRequest(repository: string, number: number, workflow: string): Promise<WorkflowRun> {
    const what = `pull request ${number} of ${repository}`;
    const { head } = await this.#json<{ head: { ref: string; sha: string; repo: { full_name: string } | null } }>(
      `/repos/${repository}/pulls/${number}`,
      what,
      ({ head }) => typeof head?.ref === "string",
    );
    const query = new URLSearchParams({ branch: head.ref, status: "success" });
    // Another fork may have, or have had, a branch of the same name; of a deleted fork only the commit is known.
    const isOfHead = ({ head_repository, head_sha }: WorkflowRun) =>
      head.repo ? head_repository?.full_name === head.repo.full_name : head_sha === head.sha;
    for (let page = 1; page <= MOST_PAGES; page++) {
      const { workflow_runs } = await this.#json<{ workflow_runs: WorkflowRun[] }>(
        `/repos/${repository}/actions/workflows/${encodeURIComponent(workflow)}/runs?${query}&${pageQuery(page)}`,
        `the runs of workflow ${workflow} of ${repository}`,
        ({ workflow_runs }) => Array.isArray(workflow_runs),
      );
      const [latest] = workflow_runs.filter(isOfHead).toSorted(newestFirst); // each page is older than the one before
      if (latest) return latest;
      if (workflow_runs.length < PAGE) break;
    }
    throw new HotbootError(
      `${what}: workflow ${workflow} has not run successfully for its branch '${head.ref}' yet: wait for it, or run it again`,
    );
  }

  /** A run's artifact by its name. @throws {HotbootError} if there is no such artifact any more. */
  async artifact(repository: string, run: number, name: string): Promise<Artifact> {
    if (!this.hasToken) {
      throw new HotbootError(
        `GitHub serves artifacts of workflow runs only with a token: set ${this.#variable}, or run 'gh auth login'`,
      );
    }
    const { artifacts } = await this.#json<{ artifacts: Artifact[] }>(
      `/repos/${repository}/actions/runs/${run}/artifacts?${new URLSearchParams({ name })}&${pageQuery(1)}`,
      `run ${run} of ${repository}`,
      ({ artifacts }) => Array.isArray(artifacts),
    );
    // A repeated run has one from each attempt.
    const found = artifacts.filter((artifact) => artifact.name === name).toSorted(newestFirst);
    if (found.length === 0) {
      throw new HotbootError(`run ${run} of ${repository} has no artifact '${name}': choose another run with --run`);
    }
    const kept = found.find(({ expired }) => !expired);
    if (!kept) throw new HotbootError(`artifact '${name}' of run ${run} of ${repository} has expired: run it again`);
    return kept;
  }

  /**
   * What attests who built a file, as Sigstore bundles, which nobody has checked yet: none if none may be seen, and of very
   * many the newest 100.
   *
   * @param digest The file's SHA-256 in hex.
   * @throws {HotbootError} if there is no answer, or one that makes no sense.
   */
  async *attestations(repository: string, digest: string): AsyncIterable<unknown> {
    const query = new URLSearchParams({ per_page: String(PAGE), predicate_type: PROVENANCE });
    const what = `attestations of sha256:${digest} in ${repository}`;
    const found = await this.#json<{ attestations: Attestation[] }>(
      `/repos/${repository}/attestations/sha256:${digest}?${query}`,
      what,
      ({ attestations }) => Array.isArray(attestations),
      { attestations: [] },
    );
    for (const { bundle, bundle_url: url } of found.attestations) {
      yield bundle || typeof url !== "string" ? bundle : await this.#bundle(url, what);
    }
  }

  /** The text of a small file of a release. @throws {HotbootError} if it cannot be got, or has more than `most` bytes. */
  async text({ url, name }: ReleaseAsset, most: number): Promise<string> {
    const response = await getPatiently({ ...this.bytesRequest(url), most }, this.#options.retry);
    if (!response.ok) throw await this.explain(response, name);
    return await response.text();
  }

  /** A bundle that is stored elsewhere, packed by snappy. */
  async #bundle(url: string, what: string): Promise<unknown> {
    const request = { ...this.bytesRequest(url), most: LONGEST_BUNDLE };
    const response = await getPatiently(request, this.#options.retry);
    if (!response.ok) throw await this.explain(response, what);
    const { unpackSnappy } = await import("./snappy.ts");
    try {
      return JSON.parse(
        new TextDecoder().decode(unpackSnappy(new Uint8Array(await response.arrayBuffer()), LONGEST_BUNDLE)),
      );
    } catch (error) {
      throw new HotbootError(`${hostOf(url)} sent something else than ${what} (${messageOf(error)}): try again later`);
    }
  }

  /**
   * A request for the bytes behind an API address: an asset's or an artifact's. Follows redirects to where they are. Sends no
   * token to an address on another origin, which a mirror of the API may give.
   */
  bytesRequest(url: string): HttpRequest {
    const { token, ...request } = this.#request(url, "application/octet-stream");
    return URL.parse(url)?.origin === new URL(this.#api).origin ? { ...request, token } : request;
  }

  /** Turns an unsuccessful answer into an error. @param what What was requested. */
  async explain(response: Response, what: string): Promise<HotbootError> {
    const { status, headers } = response;
    const { token } = this.#options;
    const said = await response.json().then(({ message }) => String(message ?? ""), () => "");
    if ((status === 403 || status === 429) && isUsedUp(response)) {
      const reset = Number(headers.get("x-ratelimit-reset")) * 1000;
      const minutes = Math.max(1, Math.ceil((reset - serverTime(response)) / 60_000));
      const more = token ? "" : `, or set ${this.#variable}, which has a higher one`;
      const time = new Date(reset).toISOString().slice(11, 16);
      return new HotbootError(`GitHub's rate limit is used up until ${time} UTC: wait ${minutes} min${more}`);
    }
    const limit = retryAfter(response);
    if (status === 403 && limit !== undefined) {
      return new HotbootError(
        `GitHub asks to wait for ${Math.ceil(limit / 1000)} s (403${said && `, ${said}`}): try again then`,
      );
    }
    if (status === 401) {
      return new HotbootError(
        token
          ? `GitHub does not accept the token from ${token.from} (401): it is wrong or has expired; set another`
          : `GitHub asks for a token (401) for ${what}: set ${this.#variable}`,
      );
    }
    if (status === 403) {
      const how = token ? `the token from ${token.from} does not allow it; use another` : `set ${this.#variable}`;
      return new HotbootError(`GitHub refuses ${what} (403${said && `, ${said}`}): ${how}`);
    }
    if (status === 404) {
      const hidden = token
        ? ` or hidden from the token from ${token.from}: correct the name, or use another token`
        : ` or private: correct the name, or set ${this.#variable}`;
      return new HotbootError(`there is no ${what} (404), or it is misspelt${hidden}`);
    }
    return new HotbootError(`GitHub answered ${status} for ${what}${said && ` (${said})`}: try again later`);
  }

  /**
   * @param isIt Whether an answer, which is not null, has the fields that are read.
   * @param none What it means if there is no such thing, unless that is an error.
   */
  async #json<T>(path: string, what: string, isIt: (value: T) => boolean, none?: T): Promise<T> {
    for (let waited = false;; waited = true) {
      const response = await getPatiently(
        this.#request(this.#api + path, "application/vnd.github+json"),
        this.#options.retry,
      );
      if (response.ok) {
        const value = await response.json().catch(() => undefined);
        if (value && isIt(value)) return value;
        throw new HotbootError(
          `the answer of ${
            new URL(this.#api).host
          } for ${what} makes no sense: correct HOTBOOT_GITHUB_API if that is not a GitHub API, or try again later`,
        );
      }
      if (response.status === 404 && none !== undefined) return none;
      const limit = secondaryLimit(response);
      if (limit === undefined || limit > SHORT_WAIT_MS || waited) throw await this.explain(response, what);
      await response.body?.cancel();
      await sleep(limit, this.#options.signal);
    }
  }

  #request(url: string, accept: string): HttpRequest {
    const { token, signal, network } = this.#options;
    return {
      url,
      headers: { accept, "x-github-api-version": "2022-11-28", "user-agent": "hotboot" },
      ...(token && { token: token.value }),
      ...(signal && { signal }),
      ...(network && { network }),
    };
  }
}

function pageQuery(page: number): URLSearchParams {
  return new URLSearchParams({ per_page: String(PAGE), page: String(page) });
}

function newestFirst(a: { created_at: string }, b: { created_at: string }): number {
  return Date.parse(b.created_at) - Date.parse(a.created_at);
}

function isRelease({ tag_name, assets }: Release): boolean {
  return typeof tag_name === "string" && Array.isArray(assets);
}

/** How long a secondary rate limit asks to wait, in milliseconds. */
function secondaryLimit(response: Response): number | undefined {
  if (response.status !== 403 && response.status !== 429) return undefined;
  const after = retryAfter(response);
  if (after !== undefined || !isUsedUp(response)) return after;
  return Math.max(0, Number(response.headers.get("x-ratelimit-reset")) * 1000 - serverTime(response));
}
