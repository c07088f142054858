#!/usr/bin/env bash
# container.sh ROOT SCHEMA: mmdebstrap calls it with the container's tree. Makes the database in ROOT/_data, because it
# will be a volume's.
set -euo pipefail
root=$1 schema=$2
as_postgres() { chroot --userspec=postgres:postgres "$root" "$@"; }

# The programs themselves, not Debian's scripts that choose among versions.
binaries=$(chroot "$root" sh -c 'echo /usr/lib/postgresql/*/bin')
ln -s "$binaries"/{postgres,psql,pg_isready} "$root/usr/local/bin"

chroot "$root" install -d -o postgres -g postgres -m 700 /_data
as_postgres "$binaries/initdb" --pgdata=/_data --auth-local=trust --auth-host=md5 --locale=C.UTF-8 --no-sync >&2
# Without a server: in single-user mode (-j) a statement ends with a semicolon and an empty line.
sql() { as_postgres "$binaries/postgres" --single -j -D /_data "$1" >&2; }
sql postgres <<<"ALTER USER postgres PASSWORD 'PASSWORD-PLACEHOLDER--uqfEC1hmmv';"
sql postgres <<<'CREATE DATABASE stackframe;'
sql stackframe <"$schema"
