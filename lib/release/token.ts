/** Finds a token for GitHub. */

import { within } from "../base/wait.ts";

/** A token, and its source. */
export interface Token {
  /** The token itself. */
  value: string;
  /** Its source in messages: `GITHUB_TOKEN`. */
  from: string;
}

/** GitHub's own API. */
export const GITHUB_API = "https://api.github.com";

/**
 * The variables with a token for an API, as `gh` has them: no other host gets GitHub's own.
 *
 * Source: `gh help environment`.
 */
export function tokenVariables(api: string): [string, string] {
  return URL.parse(api)?.origin === GITHUB_API
    ? ["GITHUB_TOKEN", "GH_TOKEN"]
    : ["GITHUB_ENTERPRISE_TOKEN", "GH_ENTERPRISE_TOKEN"];
}

/**
 * The token from the environment, else the token of GitHub's own program if it is installed and logged in.
 *
 * Needs env permission for the API's {@linkcode tokenVariables}, and run permission for `gh`; without that it does not ask `gh`.
 *
 * @param api The address of the API that the token is for; GitHub's own by default.
 */
export async function findToken(api: string = GITHUB_API, signal?: AbortSignal): Promise<Token | undefined> {
  for (const name of tokenVariables(api)) {
    const value = Deno.env.get(name)?.trim();
    if (value) return { value, from: name };
  }
  let gh: Deno.ChildProcess | undefined;
  try {
    gh = new Deno.Command("gh", {
      args: ["auth", "token", "--hostname", URL.parse(api)?.hostname.replace(/^api\./, "") ?? "github.com"],
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    // It may ask a keyring that waits to be unlocked.
    const { success, stdout } = await within(gh.output(), "gh", { timeoutMs: 10_000, signal });
    const value = new TextDecoder().decode(stdout).trim();
    return success && value ? { value, from: "'gh auth token'" } : undefined;
  } catch {
    gh?.kill();
    signal?.throwIfAborted();
    return undefined; // it is not installed, may not be run, or does not answer
  }
}
