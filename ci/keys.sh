#!/usr/bin/env bash
# The keys of the cache: of the image all that it is made of, of the snapshot also the machine.
#
#   PROFILE  as for --profile; if empty, the nearest hotboot.json, which is trusted from now on
set -euo pipefail

if [ -n "$PROFILE" ]; then set -- --profile "$PROFILE"; else set -- --trust; fi
shown=$(hotboot profile show --json "$@")

digest() {
  shasum --algorithm 256 | cut -c 1-16
}

# The image's part of the profile, and the files that it names.
recipe=$({
  jq --sort-keys .profile.image <<<"$shown"
  jq --raw-output '.profile.image | .. | strings | select(startswith("/"))' <<<"$shown" | while read -r path; do
    if [ -e "$path" ]; then find "$path" -type f -exec shasum --algorithm 256 {} + | sort; fi
  done
} | digest)

# A snapshot resumes on the same QEMU and, with KVM, on the same CPU.
machine=$({
  for program in qemu-system-x86_64 qemu-system-aarch64; do
    if command -v "$program" >/dev/null; then "$program" --version; fi
  done
  if command -v lscpu >/dev/null; then lscpu | grep -E '^(Model name|Flags|Features)'; else sysctl -n machdep.cpu.brand_string; fi
} | digest)

profile=$({ hotboot --version && jq --sort-keys .profile <<<"$shown"; } | digest)
image=$(jq --raw-output '.image | sub("\\.qcow2$"; "")' <<<"$shown")
{
  echo "home=$(jq --raw-output .home <<<"$shown")"
  echo "image=$image"
  echo "image-key=hotboot-image-${image##*/}-$recipe"
  echo "snapshot-key=hotboot-snapshot-${image##*/}-$profile-$machine"
} | tee -a "$GITHUB_OUTPUT"
