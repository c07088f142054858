#!/usr/bin/env bash
# A base image such as distributions publish for clouds, made of Debian's packages: it boots by its own boot loader, from
# a BIOS (amd64) or UEFI (arm64), and cloud-init sets it up. The packages that the services need are in it, so that they
# can be provisioned without a network.
#
#     build.sh OUT ARCH      writes OUT/disk.qcow2
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
  amd64) boot_loader=grub-pc-bin ;;
  arm64) boot_loader=grub-efi-arm64-bin && need mformat mtools ;;
  *) fail "the base image has no recipe for '$arch': use amd64 or arm64" ;;
esac

make_work_directory

step "download and install Debian, cloud-init and the services' packages"
pack_trees "$work/guest.tar" "$here/../shared/machine" "$here/guest"
debootstrap_debian "$arch" /dev/null --variant=minbase --format=null "${small_debian[@]}" \
  --include="$(comma_separated $(machine_packages "$arch") $(service_packages "$(debian_suite)") \
    "$boot_loader" grub-common cloud-init cloud-guest-utils fdisk)" \
  --essential-hook="tar-in $work/guest.tar /" \
  --customize-hook="bash '$here/../shared/machine.sh' \"\$1\" base" \
  --customize-hook='chroot "$1" systemctl -q disable nginx.service supervisor.service postgresql.service' \
  --customize-hook="bash '$here/../make_disk.sh' 2G \"\$1\" $arch" \
  --customize-hook="copy-out /hotboot/disk.qcow2 $work"
mv "$work/disk.qcow2" "$out"
