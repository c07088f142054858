#!/usr/bin/env bash
# make_disk.sh SIZE ROOT: called by mmdebstrap with the guest's tree. Leaves in ROOT/hotboot: the kernel, the initrd, and
# the tree as a compressed qcow2 disk of SIZE.
set -euo pipefail
size=$1 root=$2
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/log/*.log "$root"/tmp/*
kernel=$(readlink -f "$root"/boot/vmlinuz-*)
initrd=$(readlink -f "$root"/boot/initrd.img-*)
aside=$(mktemp -d "$root.XXXXXX")
mkdir "$aside/tree"
# The tree alone, without the /proc, /sys and /dev that mmdebstrap has mounted into it.
mount --bind "$root" "$aside/tree"
trap 'umount "$aside/tree"; rm -rf "$aside"' EXIT
mv "$kernel" "$aside/kernel"
mv "$initrd" "$aside/initrd"

echo "step make the disk"
# Fixed ids, so that the same tree gives the same disk; hash_seed orders directories.
mke2fs -q -t ext4 -d "$aside/tree" -L root -U 686f7462-6f6f-4d74-8d69-63726f000002 \
  -E hash_seed=686f7462-6f6f-4d74-8d69-63726f000003 "$aside/disk.raw" "$size" >&2
echo "step compress the disk"
qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd "$aside/disk.raw" "$aside/disk.qcow2"
rm "$aside/disk.raw"
mkdir "$root/hotboot"
mv "$aside"/{kernel,initrd,disk.qcow2} "$root/hotboot"
