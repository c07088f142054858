# The guests' packages. For bash to source.

# machine_packages ARCH: what a Debian needs so that hotboot can run it and talk to it.
machine_packages() {
  # zstd: the initrd's compression, the fastest to unpack. util-linux-extra: hwclock, with which the agent sets the time.
  # The generic kernel: the cloud kernel has no 9p file system, which shares the host's files.
  echo "linux-image-$1" initramfs-tools zstd systemd-sysv udev qemu-guest-agent perl-base util-linux-extra
}

# service_packages SUITE: what the services in services/ need.
service_packages() {
  local nginx=nginx
  [[ $1 != bookworm ]] || nginx=nginx-light
  echo postgresql "$nginx" python3-minimal python3-psycopg2 supervisor
}
