#!/usr/bin/env bash
# Installs the binary of one of hotboot's releases, once its checksum is right, and puts it on PATH.
#
#   VERSION      the release's; if empty, that of the action
#   RELEASES     where the releases are
#   ATTESTATION  true: also ask GitHub who built the binary
set -euo pipefail

version=${VERSION:-$(jq -r .version "$GITHUB_ACTION_PATH/deno.json")}
version=${version#v}
case $(uname -s)-$(uname -m) in
  Linux-x86_64) target=x86_64-unknown-linux-gnu ;;
  Linux-aarch64) target=aarch64-unknown-linux-gnu ;;
  Darwin-x86_64) target=x86_64-apple-darwin ;;
  Darwin-arm64) target=aarch64-apple-darwin ;;
  *)
    echo "::error::hotboot has no binary for $(uname -sm): use a runner with Linux or macOS, x64 or arm64"
    exit 1
    ;;
esac
binary=hotboot-$target

downloads=$(mktemp -d "$RUNNER_TEMP/hotboot-XXXXXX")
cd "$downloads"
for name in "$binary" SHA256SUMS; do
  address=$RELEASES/download/v$version/$name
  if ! curl --fail --silent --show-error --location --retry 5 --output "$name" "$address"; then
    echo "::error::$address cannot be downloaded: check the inputs version and releases"
    exit 1
  fi
done
if ! grep " $binary\$" SHA256SUMS | shasum --algorithm 256 --check -; then
  echo "::error::$binary is not what the release's SHA256SUMS says: run the job again"
  exit 1
fi
if [ "$ATTESTATION" = true ]; then
  if ! command -v gh >/dev/null; then
    echo "::error::gh is not on PATH, which asks for the attestation: install it, or set the input attestation to false"
    exit 1
  fi
  gh attestation verify "$binary" --repo hotboot/hotboot
fi

directory=$RUNNER_TEMP/hotboot-$version
mkdir -p "$directory"
chmod +x "$binary"
mv "$binary" "$directory/hotboot"
cd "$directory"
rm -r "$downloads"
echo "$directory" >>"$GITHUB_PATH"
echo "version=$version" >>"$GITHUB_OUTPUT"
"$directory/hotboot" --version
