#!/usr/bin/env bash
# services.sh ROOT: sets up the services in a Debian tree that already has their packages and services/. The tree
# is a new one or a guest's own (/).
set -euo pipefail
root=$1
in_guest() { chroot "$root" "$@"; }
as_postgres() { chroot --userspec=postgres:postgres "$root" "$@"; }

echo "step set the services up"
mkdir -p "$root/media/config"
# Without reloads, which are useless before the next boot: each runs all generators, including cloud-init's.
in_guest systemctl -q --no-reload enable supervisor.service database.service
# What runs instead: database.service, and nginx under supervisor.
in_guest systemctl -q --no-reload mask nginx.service postgresql.service
in_guest useradd --system --no-create-home --home-dir /nonexistent emulator

echo "step make the database"
binaries=$(in_guest sh -c 'echo /usr/lib/postgresql/*/bin')
in_guest install -d -o postgres -g postgres -m 700 /var/lib/database
as_postgres "$binaries/initdb" --pgdata=/var/lib/database --locale=C.UTF-8 --auth=peer --no-sync >&2
echo "include '/opt/emulator/postgresql.conf'" >>"$root/var/lib/database/postgresql.conf"
# Without a server: in single-user mode (-j) a statement ends with a semicolon and an empty line.
sql() { as_postgres "$binaries/postgres" --single -j -D /var/lib/database "$1" >&2; }
echo 'CREATE DATABASE stack;' | sql postgres
sql stack <"$root/opt/emulator/schema.sql"

echo "step build the dashboard"
# As a bundler does it: the script's name depends on its content.
assets=$root/srv/dashboard/assets
name=app-$(sha256sum "$assets/app.js" | cut -c 1-8).js
mv "$assets/app.js" "$assets/$name"
sed -i "s|/assets/app\.js|/assets/$name|" "$root/srv/dashboard/handler/sign-in.html"

echo "step keep the files that secrets go into"
# Copies with placeholders: each rotation fills them in, and need not search all the other files.
templates=$root/usr/share/emulator/dashboard
(cd "$root/srv/dashboard" && grep -rlF "$(sed -n 's/^PUBLISHABLE_CLIENT_KEY=//p' "$root/etc/emulator/secrets.env")" .) |
  while read -r file; do install -D -m 644 "$root/srv/dashboard/$file" "$templates/$file"; done
[[ -d $templates ]] || { echo "no file of the dashboard has the placeholder" >&2; exit 1; }
