#!/usr/bin/env bash
# The stand-in's base disk: a Debian like a published cloud image, which boots by its own boot
# loader from a BIOS (amd64) or UEFI (arm64), and has cloud-init. The guest must not need a network, so the disk also has
# docker, the container's initial file system in /var/lib/container, and the volume with its database.
#
#     build.sh OUT ARCH      writes OUT/disk.qcow2
set -euo pipefail
out=$1 arch=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
qemu=$here/../../../../qemu
. "$qemu/common.sh"
. "$qemu/shared/packages.sh"
isolate "$@"

need mmdebstrap mmdebstrap
need mke2fs e2fsprogs
need qemu-img qemu-utils
case $arch in
  amd64) boot_loader=grub-pc-bin ;;
  arm64) boot_loader=grub-efi-arm64-bin && need mformat mtools ;;
  *) fail "the base image has no recipe for '$arch': use amd64 or arm64" ;;
esac

make_work_directory

step "download and install the container's packages"
# PostgreSQL works without its packaged compiler, which is larger than all the rest.
debootstrap_debian "$arch" "$work/container.tar" --variant=essential "${small_debian[@]}" \
  --include=postgresql,supervisor,python3-psycopg2,curl \
  --dpkgopt='path-exclude=/usr/lib/*/libLLVM*' --dpkgopt='path-exclude=/usr/lib/*/libz3*' \
  --dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/bitcode/*' --skip=output/dev \
  --essential-hook='mkdir "$1/etc/postgresql-common"' \
  --essential-hook='echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"' \
  --customize-hook="bash '$here/container.sh' \"\$1\" '$here/schema.sql'" \
  --customize-hook="tar-out /_data $work/database.tar" \
  --customize-hook='rm -r "$1/_data"'

step "download and install the machine's packages"
pack_trees "$work/guest.tar" "$qemu/shared/machine" "$here/guest"
container=/var/lib/container database=/var/lib/docker/volumes/stack-postgres-data
debootstrap_debian "$arch" /dev/null --variant=minbase --format=null "${small_debian[@]}" \
  --include="$(comma_separated $(machine_packages "$arch") "$boot_loader" grub-common cloud-init cloud-guest-utils fdisk \
    docker.io apparmor)" \
  --essential-hook="tar-in $work/guest.tar /" \
  --customize-hook="bash '$qemu/shared/machine.sh' \"\$1\" base" \
  --customize-hook="mkdir -p \"\$1$container\" \"\$1$database\"" \
  --customize-hook="tar-in $work/container.tar $container" --customize-hook="tar-in $work/database.tar $database" \
  --customize-hook="bash '$qemu/make_disk.sh' 3G \"\$1\" $arch" \
  --customize-hook="copy-out /hotboot/disk.qcow2 $work"
mv "$work/disk.qcow2" "$out"
