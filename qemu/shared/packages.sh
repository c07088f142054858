# The packages that guests are made of. To be sourced by bash.

# machine_packages ARCH: what a Debian needs that hotboot runs and talks to.
machine_packages() {
  # zstd: the initrd's compression, the quickest to undo; util-linux-extra: hwclock, which the agent sets the time with.
  # The kernel is the generic one: the one for clouds has no 9p file system, which shares the host's files.
  echo "linux-image-$1" initramfs-tools zstd systemd-sysv udev qemu-guest-agent perl-base util-linux-extra
}

# service_packages SUITE: what the services in services/ are made with.
service_packages() {
  local nginx=nginx
  [[ $1 != bookworm ]] || nginx=nginx-light
  echo postgresql "$nginx" python3-minimal python3-psycopg2 supervisor
}
