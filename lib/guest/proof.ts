/** Proves a rotation: how the services answer to the old values and to the new ones. */

import { attemptAll } from "../base/attempts.ts";
import { HotbootError } from "../base/error.ts";
import { fill } from "../base/fill.ts";
import { AT_ONCE, getAnswer, type GuestAnswer } from "./http.ts";
import type { ProofCheck } from "../profile/profile.ts";
import { textsOf } from "../profile/references.ts";
import { placeholdersOf, type Secrets, type SecretSpec, secretValue } from "../profile/secrets.ts";

/** The most characters of a page's scripts and style sheets together. */
const MOST_SCRIPTS = 64 * 2 ** 20;

/** The inputs of a proof. */
export interface Proof {
  /** The checks. */
  checks: ProofCheck[];
  /** The secrets that the image has. */
  specs: SecretSpec[];
  /** The host's ports by name. */
  ports: Record<string, number>;
}

/**
 * Returns when every check has passed once.
 *
 * @param onHold Called with the name of each check that passed.
 * @throws {HotbootError} with the checks that did not pass within `timeoutMs`. The message contains no secret.
 */
export async function proveRotation(
  proof: Proof,
  secrets: Secrets,
  timeoutMs: number,
  signal: AbortSignal,
  onHold: (name: string) => void = () => {},
): Promise<void> {
  const attempts = proof.checks.map((check) => ({
    name: check.name,
    attempt: (signal: AbortSignal) => failureOf(check, proof, secrets, signal),
  }));
  await attemptAll(attempts, "the new secrets are not in effect everywhere", timeoutMs, signal, onHold);
}

/**
 * Returns when every check was seen to be able to fail: while the placeholders are in effect, the checks for placeholders
 * must fail, and the checks for secrets must pass with them. A check that cannot fail proves nothing.
 *
 * @throws {HotbootError} with the checks that did otherwise for `timeoutMs`.
 */
export async function proveChecks(proof: Proof, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const placeholders = placeholdersOf(proof.specs);
  const attempts = proof.checks.map((check) => ({
    name: check.name,
    attempt: async (signal: AbortSignal) => {
      const failure = await failureOf(check, proof, placeholders, signal);
      if (!textsOf(check).some((text) => text.includes("${placeholder."))) return failure;
      return failure === undefined ? "it passes already, so the image has another placeholder" : undefined;
    },
  }));
  const what =
    "the image's placeholders are not in effect, or the proof in the profile's 'rotation' cannot detect them";
  await attemptAll(attempts, what, timeoutMs, signal);
}

/**
 * The first check that fails now, and why; `undefined` if all pass. Skips the checks that look at scripts. Repeats a
 * request that gets no answer, because no answer says nothing about the secrets.
 *
 * @throws {HotbootError} with the checks that got no answer within `timeoutMs`.
 */
export async function brokenProof(
  proof: Proof,
  secrets: Secrets,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  const checks = proof.checks.filter(({ scripts }) => !scripts);
  const failures = new Map<ProofCheck, string>();
  const attempts = checks.map((check) => ({
    name: check.name,
    attempt: async (signal: AbortSignal) => {
      const failure = await failureOf(check, proof, secrets, signal);
      if (failure !== undefined) failures.set(check, `${check.name} (${failure})`);
      return undefined;
    },
  }));
  await attemptAll(attempts, "the services do not show which secrets are in effect", timeoutMs, signal);
  return checks.map((check) => failures.get(check)).find((failure) => failure !== undefined);
}

/** Why a check fails; `undefined` if it passes. @throws what the request throws, or if the server itself failed. */
async function failureOf(
  check: ProofCheck,
  { specs, ports }: Proof,
  secrets: Secrets,
  signal: AbortSignal,
): Promise<string | undefined> {
  const placeholders = placeholdersOf(specs);
  const filled = (text: string) => fill(text, (variable) => secretValue(variable, secrets, placeholders));
  const { path, method, status: expected = 200, contains = [], excludes = [] } = check;
  const port = ports[check.port];
  const headers = Object.fromEntries(
    Object.entries(check.headers ?? {}).map(([name, value]) => [name, filled(value)]),
  );
  const { status, body } = await getAnswer({ port, path, method, headers }, signal);
  const failure = `status ${status} instead of ${expected}`;
  if (status !== expected && status >= 500) throw new HotbootError(failure);
  if (status !== expected) return failure;
  const scripts = check.scripts ? [...scriptsOf(body, port, path)] : [];
  const answers = await getAll(scripts, (path) => getAnswer({ port, path, headers }, signal));
  const missing = answers.findIndex(({ status }) => status !== 200);
  if (missing >= 0) return `status ${answers[missing].status} instead of 200 for ${scripts[missing]}`;
  const served = [body, ...answers.map(({ body }) => body)];
  for (const text of contains) if (!served.some((each) => each.includes(filled(text)))) return `it lacks ${text}`;
  for (const text of excludes) if (served.some((each) => each.includes(filled(text)))) return `it still has ${text}`;
}

/** The answers for a page's scripts. @throws {HotbootError} if they are more than any page has. */
async function getAll(paths: string[], get: (path: string) => Promise<GuestAnswer>): Promise<GuestAnswer[]> {
  const answers: GuestAnswer[] = [];
  let length = 0;
  for (let at = 0; at < paths.length; at += AT_ONCE) {
    const some = await Promise.all(paths.slice(at, at + AT_ONCE).map(get));
    length += some.reduce((sum, { body }) => sum + body.length, 0);
    answers.push(...some);
    if (length > MOST_SCRIPTS) throw new HotbootError(`its scripts have more than ${MOST_SCRIPTS} characters`);
  }
  return answers;
}

/** The paths of a page's scripts and style sheets that have the page's origin. */
function scriptsOf(page: string, port: number, path: string): Set<string> {
  const base = new URL(path, `http://127.0.0.1:${port}`);
  const paths = new Set<string>();
  for (const [element, address] of page.matchAll(/<(?:script|link)\b[^<>]*?\s(?:src|href)\s*=\s*["']([^"']+)["']/gi)) {
    const url = URL.parse(address.replaceAll("&amp;", "&"), base);
    if (url?.origin !== base.origin) continue;
    if (!element.toLowerCase().startsWith("<link") || /\.(?:js|css)$/.test(url.pathname)) {
      paths.add(url.pathname + url.search);
    }
  }
  return paths;
}
