#!/usr/bin/env bash
# The micro guest for arm64 on a disk that boots by itself: the whole disk is an EFI system partition's file system,
# with GRUB for the firmware to start, and the kernel and initrd beside it.
#
#     build.sh OUT ARCH      writes OUT/disk.qcow2
set -euo pipefail
out=$1 arch=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
qemu=$here/../../../qemu
. "$qemu/common.sh"
isolate "$@"

need mmdebstrap mmdebstrap
need mformat mtools
need qemu-img qemu-utils
[[ $arch == arm64 ]] || fail "the efi guest has no recipe for '$arch': use arm64"

make_work_directory
root=$work/root
mkdir "$work/micro"
bash "$qemu/micro/build.sh" "$work/micro" "$arch"

step "download GRUB"
debootstrap_debian "$arch" "$root" --variant=extract --include=grub-efi-arm64-bin

step "make the disk"
export MTOOLS_SKIP_CHECK=1
disk=$work/disk.raw
size=64 # MiB
truncate --size="${size}M" "$disk"
mformat -i "$disk" -T $((size * 2048)) -N 686f7462 ::
# GRUB looks for its configuration at the path that it was linked with.
cat >"$work/grub.cfg" <<'END'
linux /kernel console=ttyAMA0 quiet
initrd /initrd
boot
END
mmd -i "$disk" ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -i "$disk" "$root/usr/lib/grub/arm64-efi/monolithic/grubaa64.efi" ::/EFI/BOOT/BOOTAA64.EFI
mcopy -i "$disk" "$work/grub.cfg" ::/EFI/debian/grub.cfg
mcopy -i "$disk" "$work/micro/kernel" "$work/micro/initrd" ::/
qemu-img convert -f raw -O qcow2 "$disk" "$out/disk.qcow2"
