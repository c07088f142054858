#!/usr/bin/env bash
# newer_qemu.sh [ARCH]: prints the path of a QEMU for guests of that architecture (by default the host's) from the
# distribution's backports, unpacked into a cache. It leaves the system's QEMU alone. For the tests, which must pass
# with both.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../qemu/common.sh"

need apt-get apt
host=$(dpkg --print-architecture)
arch=${1:-$host}
case $arch in
  amd64) package=qemu-system-x86 program=qemu-system-x86_64 ;;
  arm64) package=qemu-system-arm program=qemu-system-aarch64 ;;
  *) fail "there is no newer QEMU for $arch here" ;;
esac
suite=$(debian_suite)-backports
cache=${XDG_CACHE_HOME:-$HOME/.cache}/hotboot-tests/qemu-$suite
[[ $arch == "$host" ]] || cache+=-$arch
path=$cache/root/usr/bin/hotboot-test-qemu
mkdir -p "${cache%/*}"
exec 9>"$cache.lock"
flock 9 # a second process waits, and finds what the first one has unpacked

if [[ ! -x $path ]]; then
  step "unpack $package of $suite" >&2
  rm -rf "$cache"
  mkdir -p "$cache"/{lists,archives}/partial "$cache/root"
  work=$cache
  mirror=$(debian_sources "${suite%-backports}" | awk -v suite="${suite%-backports}" '$3 == suite { print $2; exit }')
  echo "deb ${mirror:?no mirror is known} $suite main" >"$cache/sources.list"
  # Of the host's own state, apt only reads which packages are installed.
  apt=(apt-get -qq -o Dir::Etc::SourceList="$cache/sources.list" -o Dir::State::Lists="$cache/lists"
    -o Dir::Cache::Archives="$cache/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
  "${apt[@]}" update >&2
  "${apt[@]}" install --yes --download-only --no-install-recommends --target-release="$suite" "$package" >&2
  for archive in "$cache"/archives/*.deb; do dpkg --extract "$archive" "$cache/root"; done
  # QEMU finds its firmware relative to itself, but not its libraries.
  cat >"$path.new" <<END
#!/bin/sh
LD_LIBRARY_PATH='$cache/root/usr/lib/$(uname -m)-linux-gnu:$cache/root/lib/$(uname -m)-linux-gnu' \\
  exec '$cache/root/usr/bin/$program' "\$@"
END
  chmod +x "$path.new"
  mv "$path.new" "$path"
  rm -rf "$cache"/{lists,archives}
fi
echo "$path"
