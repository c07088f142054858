/** The template `postgres`: PostgreSQL and one service on Debian, in an image that a script builds. */

import { type Draft, EMULATED_CPU, firstPort, head, placeholder, type Wishes } from "./template.ts";

/** The files for a project of this name. */
export function postgres({ name }: Wishes): Promise<Draft> {
  const initial = placeholder();
  const files = {
    "hotboot.json": profile(name, initial),
    "hotboot/build.sh": BUILD,
    "hotboot/set-up.sh": setUp(name, initial),
    "hotboot/guest/opt/app/api.py": API,
    "hotboot/guest/opt/app/schema.sql": TABLES,
    "hotboot/guest/usr/local/sbin/rotate": ROTATE,
    "hotboot/guest/etc/systemd/system/api.service": UNIT,
    "hotboot/guest/etc/systemd/system/emulated-cpu.service": EMULATED_CPU,
    "hotboot/guest/etc/systemd/network/80-guest.network": NETWORK,
    "hotboot/guest/etc/initramfs-tools/conf.d/guest": INITRD,
    "hotboot/guest/usr/share/initramfs-tools/modules.d/guest": MODULES,
  };
  const notes = [
    `hotboot/build.sh needs programs of Debian or Ubuntu: '${INSTALL}'`,
    "the service is hotboot/guest/opt/app/api.py: replace it with your own",
  ];
  return Promise.resolve({ files, notes });
}

function profile(name: string, initial: string): string {
  const port = firstPort(name);
  return `${head(name)}
  "image": {
    "build": {
      // A bash script that makes the disk on this machine. It installs Debian packages: add yours there.
      "script": "hotboot/build.sh",
      // Everything that decides what it makes. 'hotboot build' does nothing until one of these changes.
      "inputs": ["hotboot"]
    }
  },

  "machine": {
    "memory": 1024, // MiB. A snapshot takes up to as much on the disk
    "cpus": 2,
    "append": "root=/dev/vda rw quiet", // the kernel's command line
    "network": "open" // what the guest reaches: "restricted" cuts it off from this machine and the internet
  },

  // "guest" is where a service listens in the guest, "host" the port of 127.0.0.1 that leads there: change that if it is taken.
  "ports": {
    "api": { "guest": 8080, "host": ${port} },
    "postgres": { "guest": 5432, "host": ${port + 1}, "url": "postgres://app@127.0.0.1:\${ports.postgres.host}/app" }
  },

  // The guest is up when each of these answers a GET request with 200.
  "health": [
    { "name": "api and database", "port": "api", "path": "/health" }
  ],

  // Each new instance gets its own password. In the image there is only this text in its place.
  "secrets": [
    { "name": "POSTGRES_PASSWORD", "placeholder": "${initial}" }
  ],
  "rotation": {
    // This program in the guest reads NAME=value lines, and puts the secrets where they belong.
    "command": ["/usr/local/sbin/rotate"],
    // Then hotboot asks these. An instance starts only if all answers are right.
    "proof": [
      {
        "name": "the database refuses the placeholder",
        "port": "api",
        "path": "/login",
        "headers": { "x-password": "\${placeholder.POSTGRES_PASSWORD}" },
        "status": 401
      },
      {
        "name": "the database accepts the new password",
        "port": "api",
        "path": "/login",
        "headers": { "x-password": "\${secret.POSTGRES_PASSWORD}" }
      }
    ]
  },

  // 'hotboot run -- npm test' gives these variables to your program.
  "environment": {
    "API_URL": "http://127.0.0.1:\${ports.api.host}",
    "DATABASE_URL": "postgres://app:\${secret.POSTGRES_PASSWORD}@127.0.0.1:\${ports.postgres.host}/app"
  },

  // These systemd units sleep in the snapshot. The database wakes first, because the new password goes into it.
  "freeze": [
    { "unit": "postgresql@*.service", "thaw": "before rotation" },
    { "unit": "api.service" }
  ],

  // Seconds until all health checks pass.
  "timeouts": { "boot": 240, "resume": 45 }
}
`;
}

/** Installs what the script needs on this machine. */
const INSTALL = "apt install mmdebstrap uidmap e2fsprogs qemu-utils debian-archive-keyring";

const BUILD = `#!/usr/bin/env bash
# Builds the image: a Debian with PostgreSQL and one service. hotboot calls it:
#
#     build.sh OUT ARCH      writes OUT/disk.qcow2, OUT/kernel and OUT/initrd
#
# hotboot shows the lines that begin with "step"; 'hotboot build --verbose' shows everything.
set -euo pipefail
out=$1 arch=$2
here=$(cd "$(dirname "$0")" && pwd)
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH

# CHANGE: the Debian release, and the packages that your services need.
suite=trixie
services=postgresql,python3-psycopg2
# What hotboot needs: a kernel, systemd, the guest agent, and hwclock (util-linux-extra).
machine=linux-image-$arch,initramfs-tools,zstd,systemd-sysv,udev,qemu-guest-agent,util-linux-extra

programs=(mmdebstrap mke2fs qemu-img)
[[ $(id -u) == 0 ]] || programs+=(newuidmap) # the guest's files have owners, also if this user is not root
for program in "\${programs[@]}"; do
  command -v "$program" >/dev/null || {
    echo "$program is missing: run '${INSTALL}'" >&2
    exit 1
  }
done
work=$(mktemp -d /tmp/hotboot-build.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM

echo "step install Debian and PostgreSQL"
# The files in guest/ go to the same places in the guest, as root's.
tar --create --file="$work/guest.tar" --directory="$here/guest" --owner=0 --group=0 --mode=u=rwX,go=rX .
mmdebstrap --architectures="$arch" --variant=minbase --format=null --include="$machine,$services" \\
  --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-confold \\
  --essential-hook="tar-in '$work/guest.tar' /" \\
  --customize-hook="bash '$here/set-up.sh' \\"\\$1\\"" \\
  --customize-hook="copy-out /hotboot/kernel /hotboot/initrd /hotboot/disk.qcow2 '$work'" \\
  "$suite" /dev/null \${HOTBOOT_MIRROR:+"$HOTBOOT_MIRROR"}
mv "$work"/{kernel,initrd,disk.qcow2} "$out"
`;

function setUp(name: string, initial: string): string {
  return `#!/usr/bin/env bash
# set-up.sh ROOT: sets up the guest's tree, in which the packages and the files of guest/ are, and makes the disk of it.
set -euo pipefail
root=$1
in_guest() { chroot "$root" "$@"; }

echo "step set up the machine"
echo ${name} >"$root/etc/hostname"
echo "127.0.0.1 localhost ${name}" >"$root/etc/hosts"
echo "nameserver 10.0.2.3" >"$root/etc/resolv.conf" # QEMU's
: >"$root/etc/machine-id"                           # each machine makes its own
in_guest systemctl -q enable systemd-networkd.service emulated-cpu.service api.service
# What would only slow the boot down.
in_guest systemctl -q mask apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service fstrim.timer \\
  systemd-networkd-wait-online.service serial-getty@ttyS0.service serial-getty@ttyAMA0.service getty@tty1.service
in_guest useradd --system --no-create-home --home-dir /nonexistent app

echo "step make the database"
config=$(echo "$root"/etc/postgresql/*/main)
cluster=$(echo "$root"/var/lib/postgresql/*/main)
cat >"$config/conf.d/guest.conf" <<'END'
listen_addresses = '*'
END
# From the host, connections come from QEMU's 10.0.2.2, and need the password. The service's own come over the socket.
echo "host all all 10.0.2.0/24 scram-sha-256" >>"$config/pg_hba.conf"
# Without a server. In this mode (-j), a statement ends with a semicolon and an empty line.
sql() {
  in_guest runuser -u postgres -- sh -c 'exec /usr/lib/postgresql/*/bin/postgres --single -j -D "$0" -c config_file="$1" "$2"' \\
    "\${cluster#"$root"}" "\${config#"$root"}/postgresql.conf" "$1" >&2
}
sql postgres <<'END'
CREATE ROLE app LOGIN PASSWORD '${initial}';

CREATE DATABASE app OWNER app;

END
sql app <"$root/opt/app/schema.sql"

echo "step make the disk"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
aside=$(mktemp -d "$root.XXXXXX")
mkdir "$aside/tree" "$aside/out"
trap 'umount "$aside/tree"; rm -rf --one-file-system "$aside"' EXIT
mount --bind "$root" "$aside/tree" # the tree without the /proc, /sys and /dev that are mounted in it
mv "$(readlink -f "$root"/boot/vmlinuz-*)" "$aside/out/kernel"
mv "$(readlink -f "$root"/boot/initrd.img-*)" "$aside/out/initrd"
mke2fs -q -t ext4 -L root -d "$aside/tree" "$aside/disk" 4G >&2 # CHANGE: the disk's size
qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd "$aside/disk" "$aside/out/disk.qcow2"
rm "$aside/disk"
mv "$aside/out" "$root/hotboot"
`;
}

const API =
  `"""The service. Replace it with yours: hotboot asks only for /health and, to prove the password, for /login."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2


def connect(**more):
    """A connection to the database. Without a host it goes over the socket, where this user needs no password."""
    return psycopg2.connect(dbname="app", user="app", connect_timeout=5, **more)


def query(statement):
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            self.answer(*self.route())
        except psycopg2.Error as error:
            self.answer(503, {"error": str(error)})

    def route(self):
        if self.path == "/":
            return 200, {"visits": query("UPDATE visits SET number = number + 1 RETURNING number")}
        if self.path == "/health":
            return 200, {"healthy": query("SELECT true")}
        if self.path == "/login":
            try:
                connect(host="127.0.0.1", password=self.headers.get("x-password", "")).close()
                return 200, {"accepted": True}
            except psycopg2.OperationalError:
                return 401, {"accepted": False}
        return 404, {"error": "not found"}

    def answer(self, status, value):
        body = json.dumps(value).encode() + b"\\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 8080), Handler).serve_forever()
`;

const TABLES = `-- The tables. Each statement ends with a semicolon and an empty line.
SET ROLE app;

CREATE TABLE visits (number integer NOT NULL);

INSERT INTO visits VALUES (0);

`;

const ROTATE = `#!/bin/sh
# hotboot calls this at each start, before the service wakes. Standard input has the secrets, as NAME=value lines.
# Exit code 0 says that they are in effect.
set -eu
password=
while IFS='=' read -r name value; do
  case $name in POSTGRES_PASSWORD) password=$value ;; esac
done
case $password in
  '' | *[!0-9a-f]*)
    echo "rotate: POSTGRES_PASSWORD is missing, or has more in it than hexadecimal digits" >&2
    exit 2
    ;;
esac
# A statement that fails is not logged, because the password is in it. Connections from before the snapshot are ended: all
# instances of the snapshot have the same ones.
cd /
runuser -u postgres -- psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname app >/dev/null <<END
SET log_min_error_statement = panic;
ALTER ROLE app PASSWORD '$password';
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();
END
`;

const UNIT = `[Unit]
Description=The service
Wants=postgresql.service
After=postgresql.service

[Service]
User=app
ExecStart=/usr/bin/python3 /opt/app/api.py
Restart=always

[Install]
WantedBy=multi-user.target
`;

const NETWORK = `# QEMU's network always gives this address.
[Match]
Name=en* eth*

[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
DNS=10.0.2.3
LinkLocalAddressing=no
IPv6AcceptRA=no
`;

const INITRD = `# Only what is needed to mount the disk, for a faster boot.
MODULES=list
COMPRESS=zstd
`;

const MODULES = `virtio_pci
virtio_blk
ext4
`;
