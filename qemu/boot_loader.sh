#!/usr/bin/env bash
# boot_loader.sh ARCH ROOT DISK SIZE: makes the file DISK with a partition table, GRUB (from the packages in ROOT) and a
# partition of SIZE for the root file system, which comes last, so that it can grow. Prints the MiB at which that
# partition begins. It mounts and attaches nothing, so it needs neither loop devices nor root.
set -euo pipefail
arch=$1 root=$2 disk=$3 size=$(numfmt --from=iec "$4")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

# number BYTES VALUE: VALUE as that many bytes, little-endian.
number() {
  local left=$1 value=$2
  while ((left-- > 0)); do
    printf "\\x$(printf %x $((value & 255)))"
    value=$((value >> 8))
  done
}

# put OFFSET: writes standard input at OFFSET.
put() {
  dd of="$disk" bs=1 seek="$1" conv=notrunc status=none
}

# partition INDEX ACTIVE TYPE START SIZE: an entry of the table at byte 446 of the disk; START and SIZE in MiB. The
# cylinder and head addresses have the values that mean: use the other addresses.
partition() {
  local sectors=2048 # in a MiB
  { number 1 "$2"; printf '\xfe\xff\xff'; number 1 "$3"; printf '\xfe\xff\xff'; number 4 $(($4 * sectors)); number 4 $(($5 * sectors)); } |
    put $((446 + 16 * $1))
}

first=1 # MiB; the space before is for the table and the boot loader
rm -f "$disk"
case $arch in
  amd64)
    start=$first
    truncate --size $(((start << 20) + size)) "$disk"
    # The BIOS loads the first sector, which loads the second one, which loads as many more as it states.
    chroot "$root" grub-mkimage --format=i386-pc --prefix='(hd0,msdos1)/boot/grub' --output=/tmp/core \
      biosdisk part_msdos ext2 search_label linux normal test >&2
    mv "$root/tmp/core" "$disk.core"
    [[ $(stat -c %s "$disk.core") -le $(((first << 20) - 512)) ]] || fail "GRUB does not fit before the first partition"
    head -c 440 "$root/usr/lib/grub/i386-pc/boot.img" | put 0
    put 512 <"$disk.core"
    rm "$disk.core"
    partition 0 0x80 0x83 "$start" $((size >> 20))
    ;;
  arm64)
    need mformat mtools
    esp=16 # MiB, for the firmware
    start=$((first + esp))
    truncate --size $(((start << 20) + size)) "$disk"
    export MTOOLS_SKIP_CHECK=1
    mformat -i "$disk@@${first}M" -T $((esp * 2048)) -N 686f7462 ::
    mmd -i "$disk@@${first}M" ::/EFI ::/EFI/BOOT ::/EFI/debian
    mcopy -i "$disk@@${first}M" "$root/usr/lib/grub/arm64-efi/monolithic/grubaa64.efi" ::/EFI/BOOT/BOOTAA64.EFI
    # GRUB looks for its configuration at the path that it was linked with.
    printf 'search --label --set=root root\nconfigfile /boot/grub/grub.cfg\n' | mcopy -i "$disk@@${first}M" - ::/EFI/debian/grub.cfg
    partition 0 0 0xef "$first" "$esp"
    partition 1 0 0x83 "$start" $((size >> 20))
    ;;
esac
printf '\x55\xaa' | put 510
echo "$start"
