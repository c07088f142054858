# What the recipes share. For bash to source.

# The distribution's tools need the distribution's Python and Perl, even if the user's PATH has others first.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH

# fail WORDS: the one line that says what, why and what to do.
fail() {
  echo "$*" >&2
  exit 1
}

# step WORDS: tells hotboot which step begins.
step() {
  echo "step $*"
}

# need PROGRAM PACKAGE: ends the recipe if PROGRAM is missing.
need() {
  command -v "$1" >/dev/null ||
    fail "$1 is missing, which the recipe needs: run 'apt install $2' (or this system's equal)"
}

# make_work_directory: sets $work to a directory that is removed when the recipe ends. Its path has no spaces or commas,
# which mmdebstrap and its hooks cannot handle. Set TMPDIR if /tmp is too small.
make_work_directory() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/hotboot-recipe.XXXXXX")
  export TMPDIR=$work # for mmdebstrap, which leaves things behind when it is killed
  trap 'rm -rf --one-file-system "$work"' EXIT
  trap 'exit 130' INT TERM
}

# isolate ARGUMENT…: makes root's recipe run in its own mount namespace. Mounts by mmdebstrap are not visible outside,
# and disappear with the last process, however it ends.
isolate() {
  if [[ $(id -u) == 0 && -z ${HOTBOOT_ISOLATED:-} ]] && unshare --mount true 2>/dev/null; then
    HOTBOOT_ISOLATED=1 exec unshare --mount bash "$0" "$@"
  fi
}

# debian_suite: this host's suite if it is a Debian, else the oldest one that is known to work.
debian_suite() {
  (
    . /etc/os-release
    if [[ ${ID:-} == debian && -n ${VERSION_CODENAME:-} ]]; then echo "$VERSION_CODENAME"; else echo bookworm; fi
  )
}

# debian_sources SUITE: sources.list lines for mmdebstrap: the mirror that the user names, else the one that this host's
# apt uses for Debian itself, else none, which leaves the choice to mmdebstrap.
debian_sources() {
  local suite=$1 targets lists
  if [[ -n ${HOTBOOT_MIRROR:-} ]]; then
    echo "deb $HOTBOOT_MIRROR $suite main"
  elif command -v apt-get >/dev/null; then
    targets=$(apt_targets)
    if [[ -z $targets ]]; then # apt has not been updated yet, or its lists were removed to save room
      lists=$(mktemp -d "${work:-/tmp}/lists.XXXXXX")
      apt-get -qq -o Dir::State::Lists="$lists" update >/dev/null 2>&1 || true
      targets=$(apt_targets -o Dir::State::Lists="$lists")
      rm -rf "$lists"
    fi
    awk -F'|' -v suite="$suite" '
      $1 == "Debian" && $2 == "main" && ($3 == suite || $3 ~ "^" suite "-(updates|security)$") {
        print "deb " $4 " " $3 " main"
      }' <<<"$targets" | sort -u
  fi
}

# apt_targets OPTION…: origin, component, suite and address of each package list that apt has.
apt_targets() {
  apt-get "$@" indextargets --format '$(ORIGIN)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)' 'Created-By: Packages'
}

# debootstrap_debian ARCH TARGET OPTION…: mmdebstrap from those sources.
debootstrap_debian() {
  local arch=$1 target=$2 suite sources
  shift 2
  suite=$(debian_suite)
  sources=$(debian_sources "$suite")
  if [[ -n $sources ]]; then
    mmdebstrap --architectures="$arch" "$@" "$suite" "$target" - <<<"$sources"
  else
    mmdebstrap --architectures="$arch" "$@" "$suite" "$target"
  fi
}

# Options of mmdebstrap: only the requested packages, no questions, and no files that only people read.
small_debian=(
  --aptopt='APT::Install-Recommends "false"'
  --dpkgopt=force-confdef --dpkgopt=force-confold
  --dpkgopt='path-exclude=/usr/share/doc/*'
  --dpkgopt='path-exclude=/usr/share/man/*'
  --dpkgopt='path-exclude=/usr/share/locale/*'
)

# comma_separated WORD…
comma_separated() {
  local IFS=,
  echo "$*"
}

# pack_trees ARCHIVE DIRECTORY…: packs the directories' contents, one over the other, as in the guest's root.
# Owners, modes and times are the guest's, whoever checked the directories out.
pack_trees() {
  local archive=$1 directory
  shift
  tar --create --file="$archive" --files-from=/dev/null
  for directory in "$@"; do
    tar --append --file="$archive" --directory="$directory" --sort=name \
      --owner=0 --group=0 --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" .
  done
}

# The same input gives the same files, as far as we can: mmdebstrap, cpio and tar honour the first, mke2fs the second.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1750000000}
export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
