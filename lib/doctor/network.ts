/** The way to servers: a token for GitHub, proxies, certificates, and, if the user wants that, the release itself. */

import { formatBytes } from "../base/format.ts";
import { publishedBytes } from "../image/pull.ts";
import type { Emulator } from "../instance/emulator.ts";
import { findNetwork, type Network, peerOf, proxiesOf } from "../release/network.ts";
import { findToken, type Token } from "../release/token.ts";
import { failed, type Finding } from "./finding.ts";

/** Looks at the environment; asks no server. */
export async function examineNetwork({ token, network, profile, signal }: Emulator): Promise<Finding[]> {
  const api = Deno.env.get("HOTBOOT_GITHUB_API") || undefined;
  const found = token === undefined ? await findToken(api, signal) : token ?? undefined;
  return [
    judgeToken(found, profile.image.release?.repository),
    ...judgeNetwork(network ?? await findNetwork()),
  ];
}

/** Whether there is a token. Says its source, and never the token. */
export function judgeToken(token: Token | undefined, repository?: string): Finding {
  const here = { id: "token", title: "GitHub token" };
  if (token) return { ...here, mark: "ok", reason: `from ${token.from}` };
  if (repository === undefined) return { ...here, mark: "info", reason: "none, and the profile's image needs none" };
  const reason = `none: a private repository, and the builds of ${repository}'s pull requests, cannot be downloaded`;
  return { ...here, mark: "info", reason, fix: "run 'gh auth login', or set GITHUB_TOKEN, if you need those" };
}

/** The proxies without their passwords, and what is wrong with certificates. */
export function judgeNetwork({ variables, faults, caCerts }: Network): Finding[] {
  const named = proxiesOf(variables).map(({ variable, url }) => `${variable} ${peerOf(url)}`);
  const { NO_PROXY = variables.no_proxy } = variables;
  const proxies = named.length === 0 ? "none" : named.join(", ") + (NO_PROXY ? `, but for ${NO_PROXY}` : "");
  const certificates = caCerts.length > 0 ? "; NODE_EXTRA_CA_CERTS adds certificates" : "";
  return [
    { id: "proxies", mark: "ok", title: "proxies", reason: proxies + certificates },
    ...faults.map((fault): Finding => {
      const fix = "correct the variable, or unset it";
      return { id: "certificates", mark: "warn", title: "certificates", reason: fault, fix };
    }),
  ];
}

/** Asks GitHub for the image's release. @param isNeeded A start would download it. */
export async function examineRelease(
  emulator: Emulator,
  isNeeded: boolean,
): Promise<{ findings: Finding[]; bytes: number }> {
  const { release } = emulator.profile.image;
  const [id, title] = ["release", "release"];
  if (!release) {
    const reason = "the profile names none, so nothing was asked";
    return { findings: [{ id, mark: "info", title, reason }], bytes: 0 };
  }
  try {
    const bytes = await publishedBytes(emulator, release);
    return {
      findings: [{ id, mark: "ok", title, reason: `${release.repository} has it (${formatBytes(bytes)})` }],
      bytes,
    };
  } catch (error) {
    emulator.signal.throwIfAborted();
    return { findings: [{ ...failed(id, title, error), mark: isNeeded ? "fail" : "warn" }], bytes: 0 };
  }
}
