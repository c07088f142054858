/**
 * Names of images in registries.
 *
 * Source: OCI Distribution Specification 1.1, "Pulling manifests" (names and tags); for Docker Hub's own hosts, Docker's
 * documentation, "Registry".
 */

import { HotbootError } from "../base/error.ts";
import { isLoopback } from "../release/network.ts";

/** An image's name: `oci://HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`. */
export interface Reference {
  /** The registry as it was written, to which the login belongs: `registry.example.com:5000`. */
  host: string;
  /** The address that requests go to, without a slash at the end. */
  origin: string;
  /** The repository: `team/shop`. */
  repository: string;
  /** The tag; `latest` if there is neither tag nor digest. */
  tag?: string;
  /** The digest, which decides alone: `sha256:…`. */
  digest?: string;
}

const PART = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const PATTERN = new RegExp(
  `^oci://((?:\\[[0-9a-f:]+\\]|[A-Za-z0-9.-]+)(?::\\d{1,5})?)/(${PART}(?:/${PART})*)(?::(\\w[\\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$`,
);
const DOCKER_HUB = /^(docker\.io|index\.docker\.io|registry-1\.docker\.io)$/;

/** Hosts that a registry sends its clients to, for logins and for blobs. */
const FURTHER_HOSTS: Record<string, string[]> = {
  "docker.io": ["auth.docker.io:443", "production.cloudflare.docker.com:443", "*.r2.cloudflarestorage.com:443"],
  "ghcr.io": ["pkg-containers.githubusercontent.com:443"],
  "registry.gitlab.com": ["gitlab.com:443", "storage.googleapis.com:443"],
};

/**
 * Reads an image's name.
 *
 * @throws {HotbootError} if it is none.
 */
export function parseReference(text: string): Reference {
  const [, named, path, tag, digest] = text.match(PATTERN) ?? [];
  if (named === undefined) {
    throw new HotbootError(
      `'${text}' is no image in a registry: write it as oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:…], in lower-case letters`,
    );
  }
  const isHub = DOCKER_HUB.test(named);
  const host = isHub ? "docker.io" : named;
  const repository = isHub && !path.includes("/") ? `library/${path}` : path;
  const origin = isHub
    ? "https://registry-1.docker.io"
    : `${isLoopback(named.replace(/:\d+$/, "")) ? "http" : "https"}://${named.toLowerCase()}`;
  const which = digest ? { digest } : { tag: tag ?? "latest" };
  return { host, origin, repository, ...which, ...(tag && { tag }) };
}

/** The name in one line. */
export function formatReference({ host, repository, tag, digest }: Reference): string {
  return `oci://${host}/${repository}${tag ? `:${tag}` : ""}${digest ? `@${digest}` : ""}`;
}

/** The registry's host, and those that it is known to send its clients to, each with its port. */
export function hostsOf({ host, origin }: Reference): string[] {
  const { hostname, port, protocol } = new URL(origin);
  return [`${hostname}:${port || (protocol === "http:" ? 80 : 443)}`, ...FURTHER_HOSTS[host] ?? []];
}
