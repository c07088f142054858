/** The proof of a rotation: what the services answer to the old values and to the new ones. */

import { attemptAll } from "../base/attempts.ts";
import { HotbootError } from "../base/error.ts";
import { fill } from "../base/fill.ts";
import { getAnswer } from "./http.ts";
import type { ProofCheck } from "../profile/profile.ts";
import { textsOf } from "../profile/references.ts";
import { placeholdersOf, type Secrets, type SecretSpec, secretValue } from "../profile/secrets.ts";

/** What a proof is made with. */
export interface Proof {
  /** The checks. */
  checks: ProofCheck[];
  /** What is in the image. */
  specs: SecretSpec[];
  /** The host's ports by name. */
  ports: Record<string, number>;
}

/**
 * Returns when every check has held once.
 *
 * @param onHold Called with the name of each that has held.
 * @throws {HotbootError} naming those that did not hold within `timeoutMs`. No secret is in it.
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
 * Returns when it has been seen of each check that it can fail: with the placeholders in effect, those about placeholders do
 * not hold, and those about secrets hold for them. A check that cannot fail proves nothing.
 *
 * @throws {HotbootError} naming those that were otherwise for `timeoutMs`.
 */
export async function proveChecks(proof: Proof, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const placeholders = placeholdersOf(proof.specs);
  const attempts = proof.checks.map((check) => ({
    name: check.name,
    attempt: async (signal: AbortSignal) => {
      const failure = await failureOf(check, proof, placeholders, signal);
      if (!textsOf(check).some((text) => text.includes("${placeholder."))) return failure;
      return failure === undefined ? "it holds already, so the placeholder is not what the image has" : undefined;
    },
  }));
  const what = "the image's placeholders are not in effect, or the proof in the profile's 'rotation' cannot tell";
  await attemptAll(attempts, what, timeoutMs, signal);
}

/**
 * The first check that does not hold now, and why; `undefined`: all do. Those that look at scripts are left out. What gets no
 * answer is asked again, since that says nothing of the secrets.
 *
 * @throws {HotbootError} naming those that were not answered within `timeoutMs`.
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
  await attemptAll(attempts, "the services do not say whose secrets are in effect", timeoutMs, signal);
  return checks.map((check) => failures.get(check)).find((failure) => failure !== undefined);
}

/** Why a check does not hold; `undefined`: it does. @throws what the request throws, or that the server itself has failed. */
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
  const answers = await Promise.all(scripts.map((path) => getAnswer({ port, path, headers }, signal)));
  const missing = answers.findIndex(({ status }) => status !== 200);
  if (missing >= 0) return `status ${answers[missing].status} instead of 200 for ${scripts[missing]}`;
  const served = [body, ...answers.map(({ body }) => body)];
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
