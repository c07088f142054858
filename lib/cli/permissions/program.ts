/**
 * The permissions of the whole program, which are compiled into the binary. The launcher uses them to find out what the
 * command may access, and gives them up when the command begins.
 */

import { CREDENTIAL_HELPERS } from "../../oci/helpers.ts";
import { CA_VARIABLES, PROXY_VARIABLES } from "../../release/network.ts";

/** Programs by name on `PATH`; environment variables, some by prefix. */
export const PROGRAM_PERMISSIONS = {
  // Paths and ports are known only at run time. Sockets in the home count as net, too.
  read: [],
  write: [],
  net: [],
  // Guests; recipes of images; GitHub's token; registries' logins.
  run: ["qemu-system-x86_64", "qemu-system-aarch64", "bash", "gh", ...CREDENTIAL_HELPERS],
  // A profile's variables: any with these prefixes, and those of the stack profile. Proxies, and certificates.
  env: [
    ...["PATH", "HOME", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "TERM", "HOTBOOT_*", "EMULATOR_*"],
    ...["COLUMNS", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"],
    ...["GITHUB_TOKEN", "GH_TOKEN", "GITHUB_ENTERPRISE_TOKEN", "GH_ENTERPRISE_TOKEN"],
    ...["STACK_*", "PORT_PREFIX", "NEXT_PUBLIC_STACK_PORT_PREFIX", "SOURCE_DATE_EPOCH"],
    ...PROXY_VARIABLES,
    ...CA_VARIABLES,
  ],
  // How much free space a disk has, how long the host has been up, and how much memory it has.
  sys: ["statfs", "osUptime", "systemMemoryInfo"],
};

/** The same as Deno's flags. Disables prompts and foreign libraries. */
export function programFlags(): string[] {
  const grants = Object.entries(PROGRAM_PERMISSIONS).map(([name, list]) =>
    list.length > 0 ? `--allow-${name}=${list.join(",")}` : `--allow-${name}`
  );
  return ["--no-prompt", "--unstable-worker-options", ...grants];
}

/** Whether a version of Deno is at least this one. */
export function isAtLeast(version: string, wantedMajor: number, wantedMinor: number): boolean {
  const [major, minor] = version.split(".").map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
