#!/usr/bin/env bash
# make_disk.sh SIZE ROOT [ARCH]: mmdebstrap calls it with the guest's tree. Leaves in ROOT/hotboot the tree as a
# compressed qcow2 disk of SIZE, with the kernel and the initrd beside it. With ARCH these stay in the tree, and the disk
# boots by itself.
set -euo pipefail
size=$1 root=$2 arch=${3:-}
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/log/*.log "$root"/tmp/*
aside=$(mktemp -d "$root.XXXXXX")
mkdir "$aside/tree" "$aside/out"
# Only the tree, without the /proc, /sys and /dev that mmdebstrap mounts in it.
mount --bind "$root" "$aside/tree"
trap 'umount "$aside/tree"; rm -rf "$aside"' EXIT

start=0 # where the file system begins, in MiB
if [[ -n $arch ]]; then
  start=$(bash "$(dirname "${BASH_SOURCE[0]}")/boot_loader.sh" "$arch" "$root" "$aside/disk.raw" "$size")
else
  mv "$(readlink -f "$root"/boot/vmlinuz-*)" "$aside/out/kernel"
  mv "$(readlink -f "$root"/boot/initrd.img-*)" "$aside/out/initrd"
fi

step "make the disk"
# mke2fs numbers files in the order of their names. What changes from build to build comes last, so that the rest keeps its
# numbers, and with them its place and its bytes: of the next image in a registry, only what has changed moves then.
late=(opt srv)
for name in "${late[@]}"; do mv "$root/$name" "$root/~$name"; done
# Fixed ids, so that the same tree gives the same disk. hash_seed orders directories. A boot loader may not know the
# newest features.
mke2fs -q -t ext4 -d "$aside/tree" -L root -U 686f7462-6f6f-4d74-8d69-63726f000002 -O ^metadata_csum_seed \
  -E "offset=$((start << 20)),hash_seed=686f7462-6f6f-4d74-8d69-63726f000003" "$aside/disk.raw" "$size" >&2
for name in "${late[@]}"; do printf 'ln /~%s /%s\nunlink /~%s\n' "$name" "$name" "$name"; done |
  debugfs -w -f - "$aside/disk.raw?offset=$((start << 20))" >/dev/null 2>&1
e2fsck -fn "$aside/disk.raw?offset=$((start << 20))" >/dev/null 2>&1 ||
  fail "the disk's file system came out wrong: check the version of e2fsprogs, and report it"
step "compress the disk"
qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd "$aside/disk.raw" "$aside/out/disk.qcow2"
rm "$aside/disk.raw"
mv "$aside/out" "$root/hotboot"
