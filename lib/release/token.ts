/** Finding a token for GitHub. */

/** A token, and where it is from. */
export interface Token {
  value: string;
  from: string;
}

/**
 * The token of the environment, else that of GitHub's own program where it is installed and logged in.
 *
 * Needs env permission for `GITHUB_TOKEN` and `GH_TOKEN`, and run permission for `gh`; without the latter it is not asked.
 *
 * @param host The host that the token is for: `github.com`.
 */
export async function findToken(host: string): Promise<Token | undefined> {
  for (const name of ["GITHUB_TOKEN", "GH_TOKEN"]) {
    const value = Deno.env.get(name)?.trim();
    if (value) return { value, from: name };
  }
  try {
    const { success, stdout } = await new Deno.Command("gh", {
      args: ["auth", "token", "--hostname", host],
      stdin: "null",
      stderr: "null",
    }).output();
    const value = new TextDecoder().decode(stdout).trim();
    return success && value ? { value, from: "'gh auth token'" } : undefined;
  } catch {
    return undefined; // it is not installed, or may not be run
  }
}
