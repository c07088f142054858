/** Digests of data too large for memory. */

import { encodeHex } from "@std/encoding/hex";
import { pieces } from "./io.ts";

/** SHA-256 of a file of any size, in hex. @param onBytes Called repeatedly with how many more bytes were read. */
export async function sha256File(
  path: string,
  signal?: AbortSignal,
  onBytes: (count: number) => void = () => {},
): Promise<string> {
  using file = await Deno.open(path);
  return await sha256Of(pieces(file), signal, onBytes);
}

/** SHA-512 of a file of any size, in hex. */
export async function sha512File(path: string, signal?: AbortSignal): Promise<string> {
  using file = await Deno.open(path);
  return await digestOf("sha512", pieces(file), signal);
}

/** SHA-256 of whatever comes in pieces, in hex. @param onBytes As above. */
export function sha256Of(
  content: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
  onBytes?: (count: number) => void,
): Promise<string> {
  return digestOf("sha256", content, signal, onBytes);
}

async function digestOf(
  algorithm: "sha256" | "sha512",
  content: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
  onBytes: (count: number) => void = () => {},
): Promise<string> {
  const { createHash } = await import("node:crypto"); // Web Crypto cannot hash a stream; a resume needs neither
  const hash = createHash(algorithm);
  for await (const piece of content) {
    signal?.throwIfAborted();
    hash.update(piece);
    onBytes(piece.length);
  }
  return hash.digest("hex");
}

/** SHA-256 of a text or bytes, in hex. */
export async function sha256(content: string | Uint8Array): Promise<string> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content.slice();
  return encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}
