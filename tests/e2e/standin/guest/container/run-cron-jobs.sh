#!/bin/bash
# Makes the backend run due jobs, again and again.
set -e
if [[ -e /run/stack-auth/rotated-secrets.env ]]; then
  set -a
  . /run/stack-auth/rotated-secrets.env
  set +a
fi
: "${CRON_SECRET:?}"
backend=http://127.0.0.1:$BACKEND_PORT
until curl -sf -o /dev/null "$backend/health"; do sleep 2; done
while true; do
  curl -sf -o /dev/null -H "Authorization: Bearer $CRON_SECRET" "$backend/api/latest/internal/email-queue-step" || true
  sleep 1
done
