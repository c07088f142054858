#!/usr/bin/env bash
# The smallest guest that hotboot can work with: a kernel, busybox, the guest agent and an HTTP answer, all in an
# initrd, and a disk to write to. For tests: it boots in a few seconds even without hardware acceleration.
#
#     build.sh OUT ARCH      writes OUT/kernel, OUT/initrd and OUT/disk.qcow2
set -euo pipefail
out=$1 arch=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../common.sh"
isolate "$@"

need mmdebstrap mmdebstrap
need cpio cpio
need xz xz-utils
need mke2fs e2fsprogs
need qemu-img qemu-utils
case $arch in
  amd64) kernel=linux-image-amd64 ;;
  arm64) kernel=linux-image-arm64 ;;
  *) fail "the micro guest has no recipe for '$arch': use amd64 or arm64" ;;
esac

# unpack_kernel FILE: prints the kernel itself. Unpacking takes an emulated CPU as long as the rest of the boot, so it is done
# here, once. QEMU starts the result by its PVH entry. arm64's kernel is not packed.
# Source: Linux's documentation, arch/x86/boot.rst: setup_sects, payload_offset, payload_length. The last four bytes of the
# payload are its size.
unpack_kernel() {
  local sectors offset length
  if [[ $arch == arm64 ]]; then
    cat "$1"
    return
  fi
  read -r sectors < <(od -An -t u1 -j 0x1f1 -N 1 "$1")
  read -r offset length < <(od -An -t u4 --endian=little -j 0x248 -N 8 "$1")
  dd if="$1" bs=1M iflag=skip_bytes,count_bytes skip=$(((sectors + 1) * 512 + offset)) count=$((length - 4)) status=none |
    xz --decompress --stdout
}

make_work_directory
root=$work/root
initrd=$work/initrd

step "download the kernel, busybox and the guest agent"
# Extracted, not installed: no target program runs, so any host can make any architecture.
debootstrap_debian "$arch" "$root" --variant=extract --include="$kernel,busybox-static,qemu-guest-agent"

step "pack the initrd"
mkdir -p "$initrd"/{bin,sbin,dev,proc,sys,run,tmp,data,usr/bin,usr/sbin,var,lib/modules}
ln -s ../run "$initrd/var/run"
cp -a "$here/guest/." "$initrd"
cp "$root/bin/busybox" "$initrd/bin"
cp "$root/usr/sbin/qemu-ga" "$initrd/usr/sbin"
# The loader and the libraries that the agent is linked with, by their names in the packages that it depends on.
directories=(lib usr/lib)
[[ ! -d $root/lib64 ]] || directories+=(lib64) # the path of amd64's loader
libraries=$(cd "$root" && find "${directories[@]}" \( -name '*.so' -o -name '*.so.*' \) -not -type d)
while read -r file; do
  mkdir -p "$initrd/$(dirname "$file")"
  cp -a "$root/$file" "$initrd/$file"
done < <(grep -E '/(ld-linux|lib(c|m|glib-2\.0|gmodule-2\.0|pcre2-8|uring|numa|udev)\.so)' <<<"$libraries")
# Built-in modules have no file. The list is in the order of dependencies.
while read -r module; do
  file=$(find "$root/lib/modules" -name "$module.ko*" -print -quit)
  [[ -z $file ]] || cp "$file" "$initrd/lib/modules"
done <"$here/guest/etc/modules"
find "$initrd" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
(cd "$initrd" && find . -print0 | LC_ALL=C sort -z |
  cpio --null --create --format=newc --reproducible --owner=0:0 --quiet) >"$out/initrd"
unpack_kernel "$root"/boot/vmlinuz-* >"$out/kernel"

step "make the disk"
mke2fs -q -t ext4 -L data \
  -E root_owner=0:0,hash_seed=686f7462-6f6f-4d74-8d69-63726f000001 \
  -U 686f7462-6f6f-4d74-8d69-63726f000001 "$work/disk.raw" 64M
qemu-img convert -f raw -O qcow2 "$work/disk.raw" "$out/disk.qcow2"
