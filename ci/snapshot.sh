#!/usr/bin/env bash
# Imports the snapshot that the cache had, or captures one. Says whether to save it for the next job.
#
#   PROFILE         as in keys.sh
#   CACHE_SNAPSHOT  true, false, or auto: only if it took so long that a download and an import are faster
set -euo pipefail

archive=$RUNNER_TEMP/hotboot-snapshot.tar.zst
worthwhile=15 # seconds; docs/ci.md has the figures
save=false

if [ -n "$PROFILE" ]; then set -- --profile "$PROFILE"; else set -- --trust; fi

if hotboot snapshot ls --json "$@" | jq --exit-status 'any(.kind == "snapshot" and .state == "usable")' >/dev/null; then
  from=home # of a runner that keeps its disk
elif [ -f "$archive" ] && hotboot snapshot import "$@" "$archive"; then
  from=cache
else
  from=capture
  SECONDS=0
  hotboot capture "$@"
  case $CACHE_SNAPSHOT in
    true) save=true ;;
    auto) if [ "$SECONDS" -ge "$worthwhile" ]; then save=true; fi ;;
  esac
  if [ "$save" = true ]; then hotboot snapshot export "$@" "$archive"; fi
fi
{
  echo "from=$from"
  echo "save=$save"
} | tee -a "$GITHUB_OUTPUT"
