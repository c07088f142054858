/**
 * Settings from the environment.
 *
 * @module
 */

import { HotbootError } from "../error.ts";

/**
 * A TCP port from an environment variable. Needs env permission for it.
 *
 * @param name The variable.
 * @param fallback What an unset or empty one stands for.
 * @throws {HotbootError} naming the variable when it is no integer from 1 to 65535.
 *
 * @example
 * ```ts
 * import { envPort } from "@hotboot/hotboot";
 *
 * console.log(envPort("DASHBOARD_PORT", 26700));
 * ```
 */
export function envPort(name: string, fallback: number): number {
  const text = Deno.env.get(name);
  if (text === undefined || text === "") return fallback;
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65535) return port;
  throw new HotbootError(`${name} is '${text}', which is no port: use an integer from 1 to 65535`);
}
