/**
 * The input of cloud-init, as a disk of its data source NoCloud.
 *
 * Source: cloud-init's documentation, "Data sources: NoCloud" and "User-data formats".
 */

import { HotbootError } from "../base/error.ts";
import type { IsoEntry } from "../iso/entry.ts";
import type { SecretSpec } from "../profile/secrets.ts";
import { secretLines } from "../profile/secrets.ts";

/** The label with which cloud-init finds the disk. */
export const SEED_LABEL = "cidata";

/** Where programs in the guest may report progress: see {@linkcode REPORTER}. */
const PROGRESS = "/run/hotboot/progress";

/**
 * hotboot's own part, beside the user's: it sends the progress file, and all output of cloud-init's programs, to the port
 * `hotboot.progress`, with a sign of life every few seconds and finally how it ended. It is a boothook, which cloud-init runs
 * first, and vendor data, which no user data replaces.
 *
 * A port has room for one writer, so all others write to the file.
 */
export const REPORTER = `#cloud-boothook
#!/bin/sh
progress=${PROGRESS}
output=/var/log/cloud-init-output.log
result=/run/cloud-init/result.json
mkdir -p "\${progress%/*}"
mkdir "\${progress%/*}/reporter" || exit 0 # it runs already
(
  tail -n +1 -F $progress >/dev/virtio-ports/hotboot.progress &
  tail -n +1 -F $output | sed -u 's/^/output /' >>$progress &
  until [ -e $result ]; do
    echo alive >>$progress
    sleep 3
  done
  cloud-init status --wait
  code=$?
  sleep 1 # until the last of the output has come this way
  # Text that cloud-init cannot parse is no failure to it.
  if grep -qE 'Failed (loading yaml blob|at merging in cloud config)' /var/log/cloud-init.log; then
    echo "failed cloud-init could not parse the user data"
  elif [ $code = 0 ] || [ $code = 2 ]; then # 2: done, with warnings (cloud-init 23.4)
    echo done
  else
    echo "failed cloud-init: $(tr -d '\\n' <$result)"
  fi >>$progress
) </dev/null >/dev/null 2>&1 &
`;

/** What user data may begin with, which tells cloud-init its kind. */
const HEADER = /^(#!|#cloud-|#include|#part-handler|## template:|content-type:|mime-version:)/i;

/** The content of the seed disk. */
export interface Seed {
  /** Identifies this machine's data. */
  instanceId: string;
  /** The machine's name. */
  hostname: string;
  /** The user's part. */
  userData: string;
  /** The secrets whose placeholders the image gets. */
  secrets: SecretSpec[];
}

/**
 * The seed disk's files: cloud-init's own, and `placeholders.env` with a NAME=value line for each secret.
 *
 * @throws {HotbootError} if cloud-init would ignore the user data.
 */
export function seedFiles({ instanceId, hostname, userData, secrets }: Seed): IsoEntry[] {
  if (!HEADER.test(userData)) {
    throw new HotbootError(
      "cloud-init ignores user data that does not begin with '#cloud-config' or '#!': add one of them",
    );
  }
  const placeholders = Object.fromEntries(secrets.map(({ name, placeholder }) => [name, placeholder]));
  const files = {
    "meta-data": `instance-id: ${instanceId}\nlocal-hostname: ${hostname}\n`,
    "user-data": userData,
    "vendor-data": REPORTER,
    ...(secrets.length > 0 && { "placeholders.env": secretLines(placeholders) }),
  };
  return Object.entries(files).map(([path, text]) => ({
    kind: "file",
    path,
    content: new TextEncoder().encode(text),
  }));
}
