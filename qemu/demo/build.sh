#!/usr/bin/env bash
# The demo's guest: Debian with PostgreSQL, a backend, a dashboard and a cron worker under supervisor, made of the
# distribution's packages and the tree in guest/, which lies over the guest's root as it is.
#
#     build.sh OUT ARCH      writes OUT/kernel, OUT/initrd and OUT/disk.qcow2
#
# The secrets in the image are placeholders, which every start replaces. They stand in three places: the row of
# "ApiKeySet" in the database (opt/demo/schema.sql), the dashboard's built script (srv/dashboard/assets/app.js) and
# etc/hotboot-demo/secrets.env, which /run/hotboot-demo/secrets.env overrides.
set -euo pipefail
out=$1 arch=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../common.sh"
isolate "$@"

need mmdebstrap mmdebstrap
need mke2fs e2fsprogs
need qemu-img qemu-utils
case $arch in
  amd64 | arm64) kernel=linux-image-$arch ;;
  *) fail "the demo has no recipe for '$arch': use amd64 or arm64" ;;
esac

make_work_directory

packages=(
  "$kernel" initramfs-tools zstd systemd-sysv udev # zstd: the initrd's compression, the quickest to undo
  qemu-guest-agent perl-base util-linux-extra # hwclock, which the agent sets the time with
  postgresql nginx-light python3-minimal python3-psycopg2 supervisor
)
[[ $(debian_suite) == bookworm ]] || packages=("${packages[@]/nginx-light/nginx}")

step "download and install Debian, PostgreSQL and nginx"
# Owners, modes and times as in the guest, whoever has checked this tree out.
tar --create --file="$work/guest.tar" --directory="$here/guest" --sort=name \
  --owner=0 --group=0 --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" .
# Hooks run where the files' owners are the guest's, also when this user is not root; what they make is fetched out of
# the tree at the end. The guest's own settings come before the packages that would ask for them.
debootstrap_debian "$arch" /dev/null --variant=minbase --format=null \
  --include="$(IFS=,; echo "${packages[*]}")" \
  --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt=force-confdef --dpkgopt=force-confold \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --essential-hook="tar-in $work/guest.tar /" \
  --customize-hook="bash '$here/configure.sh' \"\$1\"" \
  --customize-hook="bash '$here/../make_disk.sh' 4G \"\$1\"" \
  --customize-hook="copy-out /hotboot/kernel /hotboot/initrd /hotboot/disk.qcow2 $work"
mv "$work"/{kernel,initrd,disk.qcow2} "$out"
