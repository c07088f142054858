/**
 * Processor architectures, by the names that Debian and Docker use.
 *
 * @module
 */

import { HotbootError } from "../base/error.ts";

/** A guest's processor architecture. */
export type Arch = "amd64" | "arm64";

/** The host's architecture. */
export const HOST_ARCH: Arch = Deno.build.arch === "aarch64" ? "arm64" : "amd64";

/**
 * The architecture of this name.
 *
 * Needs no permissions.
 *
 * @param raw `amd64` or `arm64`; nothing, or an empty text: the host's.
 * @returns The architecture.
 * @throws {HotbootError} when it is another name: `Invalid architecture`.
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
