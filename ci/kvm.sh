#!/usr/bin/env bash
# Lets this user open /dev/kvm, if there is one. GitHub's runners have it, and keep it for the group kvm.
set -euo pipefail

if [ ! -e /dev/kvm ]; then
  echo "there is no /dev/kvm on this machine: hotboot looks for another accelerator, or emulates"
elif [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
  echo "this user may open /dev/kvm already"
else
  echo 'KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"' |
    sudo tee /etc/udev/rules.d/99-hotboot-kvm.rules
  sudo udevadm control --reload-rules
  sudo udevadm trigger --name-match=kvm
  sudo udevadm settle
fi
