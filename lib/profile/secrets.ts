/**
 * Secrets of one start: made on the host, sent to the guest, and shown to nobody else.
 *
 * @module
 */

import { encodeHex } from "@std/encoding/hex";

/** A secret that every start makes anew. */
export interface SecretSpec {
  /** Its name, as the rotation command knows it: upper-case letters, digits and underscores. */
  name: string;
  /** What stands in the image in its place. */
  placeholder: string;
  /** Its length before it is written as hexadecimal digits; 32 unless told. */
  bytes?: number;
  /** The name of a file in the instance's directory that it is also written to, once it is proven; without a dot. */
  file?: string;
}

/** The values by their names. */
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

/** A text that others may read: each secret in it is replaced by its name. */
export function redact(text: string, secrets: Secrets): string {
  return Object.entries(secrets).reduce((redacted, [name, value]) => redacted.replaceAll(value, `<${name}>`), text);
}

/** What is in the image, by the secrets' names. */
export function placeholdersOf(specs: SecretSpec[]): Secrets {
  return Object.fromEntries(specs.map(({ name, placeholder }) => [name, placeholder]));
}

/** What `secret.NAME` and `placeholder.NAME` stand for. */
export function secretValue(variable: string, secrets: Secrets, placeholders: Secrets): string | undefined {
  const [, kind, name] = variable.match(/^(secret|placeholder)\.(.+)$/) ?? [];
  const values = kind === "secret" ? secrets : placeholders;
  return kind && Object.hasOwn(values, name) ? values[name] : undefined;
}
