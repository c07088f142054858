/**
 * Processor architectures, by Debian's and Docker's names.
 *
 * @module
 */

import { HotbootError } from "../base/error.ts";

/** A guest's processor architecture. */
export type Arch = "amd64" | "arm64";

/** The host's architecture. */
export const HOST_ARCH: Arch = Deno.build.arch === "aarch64" ? "arm64" : "amd64";

/**
 * Resolves an architecture's name.
 *
 * Needs no permissions.
 *
 * @param raw `amd64` or `arm64`; undefined or empty means the host's.
 * @returns The architecture.
 * @throws {HotbootError} for any other name: `Invalid architecture`.
 *
 * @example
 * ```ts
 * import { resolveArch } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(resolveArch("arm64"), "arm64");
 * assertEquals(resolveArch(), Deno.build.arch === "aarch64" ? "arm64" : "amd64");
 * ```
 */
export function resolveArch(raw?: string): Arch {
  if (raw === undefined || raw === "") return HOST_ARCH;
  if (raw === "amd64" || raw === "arm64") return raw;
  throw new HotbootError(`Invalid architecture '${raw}': use amd64 or arm64`);
}
