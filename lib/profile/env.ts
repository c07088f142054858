/**
 * Settings from the environment.
 *
 * @module
 */

import { HotbootError } from "../base/error.ts";

/**
 * Reads a TCP port from an environment variable.
 *
 * Needs env permission for the variable.
 *
 * @param name The variable.
 * @param fallback The port if the variable is unset or empty.
 * @returns The port, from 1 to 65535, or the fallback unchanged.
 * @throws {HotbootError} with the variable's name, if it is not an integer from 1 to 65535.
 *
 * @example
 * ```ts
 * import { envPort } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(envPort("DASHBOARD_PORT", 26700), 26700);
 * Deno.env.set("DASHBOARD_PORT", "8080");
 * assertEquals(envPort("DASHBOARD_PORT", 26700), 8080);
 * ```
 */
export function envPort(name: string, fallback: number): number {
  const text = Deno.env.get(name);
  if (text === undefined || text === "") return fallback;
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65535) return port;
  throw new HotbootError(`${name} is '${text}', which is not a port: use an integer from 1 to 65535`);
}
