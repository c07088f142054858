#!/usr/bin/env bash
# Installs QEMU, unless it is there.
set -euo pipefail

case $(uname -m) in
  x86_64) program=qemu-system-x86_64 packages=(qemu-system-x86) ;;
  *) program=qemu-system-aarch64 packages=(qemu-system-arm qemu-efi-aarch64) ;;
esac

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if command -v "$program"; then
  "$program" --version
elif command -v apt-get >/dev/null; then
  as_root apt-get -qq update
  as_root apt-get -qq install --yes --no-install-recommends "${packages[@]}"
elif command -v brew >/dev/null; then
  brew install qemu
else
  echo "::error::$program is not on PATH, and this runner has neither apt-get nor brew: install QEMU before this step"
  exit 1
fi
