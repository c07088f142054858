#!/usr/bin/env bash
# Called by mmdebstrap with the guest's tree, in which all packages are installed and guest/ is in place.
set -euo pipefail
root=$1
in_guest() { chroot "$root" "$@"; }
as_postgres() { chroot --userspec=postgres:postgres "$root" "$@"; }

echo "step set the services up"
: >"$root/etc/machine-id" # empty: each machine has its own for as long as it runs, and no boot is a "first" one
echo demo >"$root/etc/hostname"
mkdir -p "$root/media/config"
printf '127.0.0.1 localhost demo\n' >"$root/etc/hosts"
in_guest systemctl -q enable systemd-networkd.service supervisor.service demo-database.service \
  emulated-cpu.service
# What runs instead: demo-database.service, and nginx under supervisor.
in_guest systemctl -q mask nginx.service postgresql.service
# Nothing that an emulator does not need runs, or keeps its boot waiting.
in_guest systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
  e2scrub_reap.service fstrim.timer systemd-networkd-wait-online.service systemd-timesyncd.service \
  serial-getty@ttyS0.service serial-getty@ttyAMA0.service getty@tty1.service systemd-pstore.service systemd-update-utmp.service
in_guest useradd --system --no-create-home --home-dir /nonexistent demo

echo "step make the database"
binaries=$(in_guest sh -c 'echo /usr/lib/postgresql/*/bin')
in_guest install -d -o postgres -g postgres -m 700 /var/lib/demo-database
as_postgres "$binaries/initdb" --pgdata=/var/lib/demo-database --locale=C.UTF-8 --auth=peer --no-sync >&2
echo "include '/opt/demo/postgresql.conf'" >>"$root/var/lib/demo-database/postgresql.conf"
# Without a server: in single-user mode (-j) a statement ends with a semicolon and an empty line.
sql() { as_postgres "$binaries/postgres" --single -j -D /var/lib/demo-database "$1" >&2; }
echo 'CREATE DATABASE stack;' | sql postgres
sql stack <"$root/opt/demo/schema.sql"

echo "step build the dashboard"
# As a bundler does: the script's name says what is in it.
assets=$root/srv/dashboard/assets
name=app-$(sha256sum "$assets/app.js" | cut -c 1-8).js
mv "$assets/app.js" "$assets/$name"
sed -i "s|/assets/app\.js|/assets/$name|" "$root/srv/dashboard/handler/sign-in.html"

echo "step keep the files that secrets go into"
# As they are now, with placeholders: each rotation fills them in anew, and has no need to look through all the others.
templates=$root/usr/share/hotboot-demo/dashboard
(cd "$root/srv/dashboard" && grep -rlF "$(sed -n 's/^PUBLISHABLE_CLIENT_KEY=//p' "$root/etc/hotboot-demo/secrets.env")" .) |
  while read -r file; do install -D -m 644 "$root/srv/dashboard/$file" "$templates/$file"; done
[[ -d $templates ]] || { echo "no file of the dashboard has the placeholder" >&2; exit 1; }
