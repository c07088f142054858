#!/usr/bin/env bash
# The demo's guest: Debian with PostgreSQL, a backend, a dashboard and a cron worker under supervisor. It is made from the
# distribution's packages and trees that are copied over the guest's root: guest/ and those in ../shared.
#
#     build.sh OUT ARCH      writes OUT/kernel, OUT/initrd and OUT/disk.qcow2
#
# The secrets in the image are placeholders, which every start replaces. They are in three places: the row of
# "ApiKeySet" in the database (opt/emulator/schema.sql), the dashboard's built script (srv/dashboard/assets/app.js) and
# etc/emulator/secrets.env, which /run/emulator/secrets.env overrides.
set -euo pipefail
out=$1 arch=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../common.sh"
. "$here/../shared/packages.sh"
isolate "$@"

need mmdebstrap mmdebstrap
need mke2fs e2fsprogs
need qemu-img qemu-utils
case $arch in
  amd64 | arm64) ;;
  *) fail "the demo has no recipe for '$arch': use amd64 or arm64" ;;
esac

make_work_directory

step "download and install Debian, PostgreSQL and nginx"
pack_trees "$work/guest.tar" "$here/../shared/machine" "$here/../shared/services" "$here/guest"
# In hooks the files' owners are the guest's, even if this user is not root. The hooks' output is copied out of
# the tree at the end. The guest's settings come before the packages that would ask for them.
debootstrap_debian "$arch" /dev/null --variant=minbase --format=null "${small_debian[@]}" \
  --include="$(comma_separated $(machine_packages "$arch") $(service_packages "$(debian_suite)"))" \
  --essential-hook="tar-in $work/guest.tar /" \
  --customize-hook="bash '$here/../shared/machine.sh' \"\$1\" demo" \
  --customize-hook="bash '$here/../shared/services.sh' \"\$1\"" \
  --customize-hook='chroot "$1" systemctl -q enable emulated-cpu.service' \
  --customize-hook="bash '$here/../make_disk.sh' 4G \"\$1\"" \
  --customize-hook="copy-out /hotboot/kernel /hotboot/initrd /hotboot/disk.qcow2 $work"
mv "$work"/{kernel,initrd,disk.qcow2} "$out"
