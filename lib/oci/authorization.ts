/**
 * Answers a registry that wants to know who asks: with a login, or with a token that another server gives for it.
 *
 * Sources: RFC 9110, 11.6.1 (WWW-Authenticate); the registry documentation of Distribution, "Token Authentication
 * Specification" and "Oauth2 Token Authentication".
 */

import { HotbootError } from "../base/error.ts";
import { getPatiently, hostOf, type HttpRequest, type RetryOptions } from "../release/http.ts";
import { isLoopback, peerOf } from "../release/network.ts";
import type { Login } from "./login.ts";
import type { Reference } from "./reference.ts";

/** One of the ways in which a server wants to know who asks. */
export interface Challenge {
  /** In lower case: `bearer`, `basic`. */
  scheme: string;
  parameters: Record<string, string>;
}

/** The challenges of a `WWW-Authenticate` header. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  const tokens = header.matchAll(
    /([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([A-Za-z][\w-]*)(?=[\s,]|$)/g,
  );
  for (const [, name, quoted, plain, scheme] of tokens) {
    if (scheme !== undefined) challenges.push({ scheme: scheme.toLowerCase(), parameters: {} });
    else if (challenges.length > 0) {
      challenges.at(-1)!.parameters[name.toLowerCase()] = quoted?.replaceAll(/\\(.)/g, "$1") ?? plain;
    }
  }
  return challenges;
}

/** How to ask the servers that give tokens. */
export interface Asking extends Pick<HttpRequest, "signal" | "network"> {
  retry?: RetryOptions;
}

/**
 * The `Authorization` header that answers a refusal, or `undefined` if hotboot knows none.
 *
 * @param scopes What is to be allowed: `repository:team/shop:pull`.
 * @throws {HotbootError} if the server that gives tokens cannot be asked, refuses, or may not have the login.
 */
export async function authorizationFor(
  refusal: Response,
  reference: Reference,
  login: Login | undefined,
  scopes: string[],
  asking: Asking,
): Promise<string | undefined> {
  const challenges = parseChallenges(refusal.headers.get("www-authenticate") ?? "");
  const bearer = challenges.find(({ scheme }) => scheme === "bearer")?.parameters;
  if (bearer?.realm) return `Bearer ${await fetchToken(bearer, reference, login, scopes, asking)}`;
  const isBasic = challenges.some(({ scheme }) => scheme === "basic");
  return isBasic && login ? basic(login) : undefined;
}

function basic({ username, secret }: Login): string {
  return `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(`${username}:${secret}`)))}`;
}

async function fetchToken(
  { realm, service }: Record<string, string>,
  reference: Reference,
  login: Login | undefined,
  scopes: string[],
  { retry, ...way }: Asking,
): Promise<string> {
  const url = URL.parse(realm);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new HotbootError(`${reference.host} names no server that gives tokens: ask who runs it`);
  }
  if (login && !mayHaveLogin(url, login)) {
    throw new HotbootError(
      `${reference.host} wants its login to be sent to ${url.host}: if you trust that host, add it to HOTBOOT_DOWNLOAD_HOSTS`,
    );
  }
  const named: Record<string, string> = service ? { service } : {};
  let request: HttpRequest;
  if (login?.username === "<token>") {
    const form = { grant_type: "refresh_token", client_id: "hotboot", refresh_token: login.secret, ...named };
    requireSafe(url);
    request = {
      url: url.href,
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams({ ...form, scope: scopes.join(" ") }).toString(),
    };
  } else {
    for (const [name, value] of Object.entries(named)) url.searchParams.append(name, value);
    for (const scope of scopes) url.searchParams.append("scope", scope);
    request = { url: url.href, ...(login && { authorization: basic(login) }) };
  }
  const response = await getPatiently({ ...request, ...way, most: 2 ** 20 }, retry);
  if (!response.ok) {
    throw new HotbootError(
      `${hostOf(url.href)}, which gives the tokens for ${reference.host}, answered ${response.status}: ${
        login
          ? `run 'docker login ${reference.host}' again, or ask for access to ${reference.repository}`
          : loginFirst(reference)
      }`,
    );
  }
  const answer = await response.json().catch(() => ({}));
  const token = answer.token ?? answer.access_token;
  if (typeof token === "string" && /^[\x21-\x7e]+$/.test(token)) return token;
  throw new HotbootError(`${hostOf(url.href)} gave no token for ${reference.host}: ask who runs it`);
}

/** What to type where there is no login. */
export function loginFirst({ host, repository }: Reference): string {
  return `if ${repository} is private, type 'docker login ${host}' first`;
}

/** A refresh token is not sent in the clear either. */
function requireSafe({ protocol, hostname, host }: URL): void {
  if (protocol === "https:" || isLoopback(hostname)) return;
  throw new HotbootError(`the login is not sent to ${host}, because http is not encrypted: ask who runs it`);
}

/** A login goes to its own registry, and to a host that this one is known to use or that the user has named. */
function mayHaveLogin(url: URL, { hosts }: Login): boolean {
  return hosts.some((each) => each === peerOf(url) || each === url.hostname);
}
