#!/usr/bin/env bash
# machine.sh ROOT NAME: mmdebstrap calls it with the guest's tree, which already contains machine/. Adapts a Debian to the
# machine that hotboot runs and to a short life.
set -euo pipefail
root=$1 name=$2
: >"$root/etc/machine-id" # empty: each machine gets its own while it runs, and no boot is a "first" one
echo "$name" >"$root/etc/hostname"
printf '127.0.0.1 localhost %s\n' "$name" >"$root/etc/hosts"
chroot "$root" systemctl -q enable systemd-networkd.service
# An emulator does not need these services, which would also delay its boot.
chroot "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
  e2scrub_reap.service fstrim.timer systemd-networkd-wait-online.service systemd-timesyncd.service \
  serial-getty@ttyS0.service serial-getty@ttyAMA0.service getty@tty1.service getty-static.service systemd-pstore.service \
  systemd-update-utmp.service
