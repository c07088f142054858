#!/usr/bin/env bash
# Gets the image, unless the one that is here is the right one.
#
#   PROFILE                  as in keys.sh
#   IMAGE_KEY, SNAPSHOT_KEY  the beginnings of the cache's keys; the image's digest is the end of both
set -euo pipefail

if [ -n "$PROFILE" ]; then set -- --profile "$PROFILE"; else set -- --trust; fi

if hotboot profile show --json "$@" | jq --exit-status '.profile.image | has("oci") or has("release")' >/dev/null; then
  got=$(hotboot pull --skip-snapshot --json "$@")
else
  got=$(hotboot build --json "$@")
fi
digest=$(jq --raw-output .files.disk.sha256 <<<"$got")
{
  echo "digest=$digest"
  echo "key=$IMAGE_KEY-$digest"
  echo "snapshot-key=$SNAPSHOT_KEY-$digest"
} | tee -a "$GITHUB_OUTPUT"
