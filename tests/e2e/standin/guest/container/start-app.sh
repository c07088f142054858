#!/bin/bash
# Starts the backend and the dashboard when the services that they need are up.
set -e
if [[ -e /run/stack-auth/rotated-secrets.env ]]; then
  set -a
  . /run/stack-auth/rotated-secrets.env
  set +a
fi
until pg_isready -q -h 127.0.0.1; do sleep 1; done
until curl -sf http://127.0.0.1:9090/minio/health/live; do sleep 1; done

seed=STACK_SEED_INTERNAL_PROJECT
names=(${seed}_PUBLISHABLE_CLIENT_KEY ${seed}_SECRET_SERVER_KEY ${seed}_SUPER_SECRET_ADMIN_KEY)
if [[ ${NEXT_PUBLIC_STACK_IS_LOCAL_EMULATOR:-} == true ]]; then
  for name in "${names[@]}"; do
    [[ ${!name:-} =~ ^[0-9a-fA-F]+$ ]] || { echo "start-app: $name is no key in hexadecimal digits" >&2; exit 1; }
  done
  psql -q -v ON_ERROR_STOP=1 "$STACK_DATABASE_CONNECTION_STRING" <<END
INSERT INTO "ApiKeySet" VALUES ('internal', '3142e763-b230-44b5-8636-aa62f7489c26', '${!names[0]}', '${!names[1]}', '${!names[2]}')
  ON CONFLICT ("projectId", "id") DO UPDATE SET "publishableClientKey" = EXCLUDED."publishableClientKey",
    "secretServerKey" = EXCLUDED."secretServerKey", "superSecretAdminKey" = EXCLUDED."superSecretAdminKey";
END
else # keys that belong to nobody
  for name in "${names[@]}"; do export "$name=${!name:-$(head -c 32 /dev/urandom | base64)}"; done
fi
export NEXT_PUBLIC_STACK_PUBLISHABLE_CLIENT_KEY=${!names[0]}

# The scripts were built before the values were known, so they contain these names instead.
cd "$STACK_RUNTIME_WORK_DIR"
sentinel=STACK_ENV_VAR_SENTINEL_
if [[ ! -e .stack-sentinels-replaced ]]; then
  grep -rl --include='*.js' $sentinel apps | while read -r file; do
    for found in $(grep -o "$sentinel[A-Z_]*" "$file" | sort -u); do
      variable=${found#$sentinel}
      sed -i "s|$found|${!variable}|g" "$file"
    done
  done
  touch .stack-sentinels-replaced
fi

# When supervisor restarts this, the shell ends at once and the two later, so the new ones may meet the old ones.
python3 apps/backend/server.py &
python3 apps/dashboard/server.py &
wait -n
