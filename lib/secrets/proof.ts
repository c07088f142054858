/** The proof of a rotation: what the services answer to the old values and to the new ones. */

import { attemptAll } from "../attempts.ts";
import { fill } from "../fill.ts";
import { getAnswer } from "../guest_http.ts";
import type { Secrets, SecretSpec } from "./secrets.ts";

/**
 * A request, and what the answer to it must be. In `headers`, `contains` and `excludes` `${secret.NAME}` stands for a
 * secret's new value and `${placeholder.NAME}` for what is in the image, `$$` for `$`.
 */
export interface ProofCheck {
  /** What it shows, for people. */
  name: string;
  /** The name of one of the profile's ports. */
  port: string;
  /** Path and query. */
  path: string;
  /** GET unless told. */
  method?: string;
  /** Its header fields. */
  headers?: Record<string, string>;
  /** The status expected; 200 unless told. */
  status?: number;
  /** Ask also for all scripts and style sheets that the page has from the same port; what follows is about all. */
  scripts?: boolean;
  /** What must be in what is served. */
  contains?: string[];
  /** What must be nowhere in it. */
  excludes?: string[];
}

/**
 * Returns when every check has held once.
 *
 * @param ports The host's ports by name.
 * @param onHold Called with the name of each that has held.
 * @throws {HotbootError} naming those that did not hold within `timeoutMs`. No secret is in it.
 */
export async function proveRotation(
  checks: ProofCheck[],
  specs: SecretSpec[],
  secrets: Secrets,
  ports: Record<string, number>,
  timeoutMs: number,
  signal: AbortSignal,
  onHold: (name: string) => void = () => {},
): Promise<void> {
  const placeholders = Object.fromEntries(specs.map(({ name, placeholder }) => [name, placeholder]));
  const filled = (text: string) => fill(text, (variable) => secretValue(variable, secrets, placeholders));
  const attempts = checks.map((check) => ({
    name: check.name,
    attempt: (signal: AbortSignal) => failureOf(check, filled, ports[check.port], signal),
  }));
  await attemptAll(attempts, "the new secrets are not in effect everywhere", timeoutMs, signal, onHold);
}

/** What `secret.NAME` and `placeholder.NAME` stand for. */
export function secretValue(variable: string, secrets: Secrets, placeholders: Secrets): string | undefined {
  const [, kind, name] = variable.match(/^(secret|placeholder)\.(.+)$/) ?? [];
  const values = kind === "secret" ? secrets : placeholders;
  return kind && Object.hasOwn(values, name) ? values[name] : undefined;
}

async function failureOf(
  check: ProofCheck,
  filled: (text: string) => string,
  port: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { path, method, status: expected = 200, contains = [], excludes = [] } = check;
  const headers = Object.fromEntries(
    Object.entries(check.headers ?? {}).map(([name, value]) => [name, filled(value)]),
  );
  const { status, body } = await getAnswer({ port, path, method, headers }, signal);
  if (status !== expected) return `status ${status} instead of ${expected}`;
  const served = [body];
  for (const script of check.scripts ? scriptsOf(body, port, path) : []) {
    const answer = await getAnswer({ port, path: script, headers }, signal);
    if (answer.status !== 200) return `status ${answer.status} instead of 200 for ${script}`;
    served.push(answer.body);
  }
  for (const text of contains) if (!served.some((each) => each.includes(filled(text)))) return `it lacks ${text}`;
  for (const text of excludes) if (served.some((each) => each.includes(filled(text)))) return `it still has ${text}`;
}

/** The paths of the scripts and style sheets of a page that come from its own origin. */
function scriptsOf(page: string, port: number, path: string): Set<string> {
  const base = new URL(path, `http://127.0.0.1:${port}`);
  const paths = new Set<string>();
  for (const [element, address] of page.matchAll(/<(?:script|link)\b[^>]*?\s(?:src|href)\s*=\s*["']([^"']+)["']/gi)) {
    const url = URL.parse(address.replaceAll("&amp;", "&"), base);
    if (url?.origin !== base.origin) continue;
    if (!element.toLowerCase().startsWith("<link") || /\.(?:js|css)$/.test(url.pathname)) {
      paths.add(url.pathname + url.search);
    }
  }
  return paths;
}
