/** What `init` writes, and what all templates share. */

import config from "../../../deno.json" with { type: "json" };

/** What the user has said about the project. */
export interface Wishes {
  /** The profile's name. */
  name: string;
  /** The values of the options of `init` that were given, or answered. */
  values: Record<string, string>;
  /** A compose file that is there already. */
  compose?: { path: string; text: string };
}

/** The files to write, and what to say about them. */
export interface Draft {
  /** By their paths in the project's directory. Those that begin with `#!` become programs. */
  files: Record<string, string>;
  /** What the user should know: a sentence each. */
  notes: string[];
}

/** The profile's schema, for editors: that of this version. */
export const SCHEMA = `https://raw.githubusercontent.com/hotboot/hotboot/v${config.version}/lib/profile/schema.json`;

/** The lines that each profile begins with. */
export function head(name: string): string {
  return `// A profile of hotboot: the virtual machine of this project. 'hotboot profile validate' checks it.
{
  // With this, editors explain and complete each field.
  "$schema": ${JSON.stringify(SCHEMA)},

  // Names the image, its snapshots and the instance. After a change, hotboot builds a new image.
  "name": ${JSON.stringify(name)},
`;
}

/** The first of ten ports that belong to a project's name, so that two projects rarely want the same. */
export function firstPort(name: string): number {
  return 27_000 + 10 * Array.from(name).reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 300, 0);
}

/** A new value to stand in the image in a secret's place. It is no secret, but no other project has it. */
export function placeholder(): string {
  return `placeholder-${crypto.randomUUID().replaceAll("-", "")}`;
}

/** A unit for guests. */
export const EMULATED_CPU =
  `# Without hardware acceleration, QEMU translates code once for each address. With the same addresses in every process,
# programs start two to three times as fast.
[Unit]
Description=The same addresses in every process, where the CPU is emulated
ConditionVirtualization=qemu
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c "echo 0 >/proc/sys/kernel/randomize_va_space"

[Install]
WantedBy=sysinit.target
`;
