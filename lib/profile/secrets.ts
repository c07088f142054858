/**
 * The secrets of one start: created on the host, sent to the guest, and shown to nobody else.
 *
 * @module
 */

import { encodeHex } from "@std/encoding/hex";

/** A secret that every start creates anew. */
export interface SecretSpec {
  /** Its name, as the rotation command gets it: upper-case letters, digits and underscores. */
  name: string;
  /** The value in the image. */
  placeholder: string;
  /** Its length before it is written as hexadecimal digits; 32 by default. */
  bytes?: number;
  /** A file in the instance's directory that also gets it, once it is proven; a name without a dot. */
  file?: string;
}

/** The values by name. */
export type Secrets = Record<string, string>;

/** New values, from the platform's cryptographically secure generator. */
export function generateSecrets(specs: SecretSpec[]): Secrets {
  return Object.fromEntries(
    specs.map(({ name, bytes = 32 }) => [name, encodeHex(crypto.getRandomValues(new Uint8Array(bytes)))]),
  );
}

/** `NAME=value` lines. */
export function secretLines(secrets: Secrets): string {
  return Object.entries(secrets).map(([name, value]) => `${name}=${value}\n`).join("");
}

/** A text that others may read: replaces each secret in it with its name. */
export function redact(text: string, secrets: Secrets): string {
  return Object.entries(secrets).reduce((redacted, [name, value]) => redacted.replaceAll(value, `<${name}>`), text);
}

/** The image's values, by the secrets' names. */
export function placeholdersOf(specs: SecretSpec[]): Secrets {
  return Object.fromEntries(specs.map(({ name, placeholder }) => [name, placeholder]));
}

/** The values of `secret.NAME` and `placeholder.NAME`. */
export function secretValue(variable: string, secrets: Secrets, placeholders: Secrets): string | undefined {
  const [, kind, name] = variable.match(/^(secret|placeholder)\.(.+)$/) ?? [];
  const values = kind === "secret" ? secrets : placeholders;
  return kind && Object.hasOwn(values, name) ? values[name] : undefined;
}
