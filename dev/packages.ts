/** Installs the distribution's packages that a task needs, after naming them. */

/** A required program or file, and the Debian package that has it. */
export interface Needed {
  /** The program's name, or an absolute path. */
  what: string;
  /** The package. */
  apt: string;
}

/** For the tests of arm64 guests. */
const ARM64: Needed[] = [
  { what: "qemu-system-aarch64", apt: "qemu-system-arm" },
  { what: "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", apt: "qemu-efi-aarch64" },
  { what: "mformat", apt: "mtools" },
];

const QEMU: Needed[] = [{ what: "qemu-system-x86_64", apt: "qemu-system-x86" }];

/** For the images' recipes. */
const RECIPES: Needed[] = [
  { what: "mmdebstrap", apt: "mmdebstrap" },
  { what: "/usr/share/keyrings/debian-archive-keyring.gpg", apt: "debian-archive-keyring" },
  { what: "mke2fs", apt: "e2fsprogs" },
  { what: "qemu-img", apt: "qemu-utils" },
  { what: "zstd", apt: "zstd" },
  { what: "cpio", apt: "cpio" },
  { what: "xz", apt: "xz-utils" },
];

/** For the demo. */
export const DEMO: Needed[] = [...QEMU, ...RECIPES];

/** For the tests and the benchmarks: other programs that read what hotboot writes, shells, and servers and proxies as companies have them. */
export const TESTS: Needed[] = [
  ...DEMO,
  { what: "genisoimage", apt: "genisoimage" },
  { what: "xorriso", apt: "xorriso" },
  { what: "bsdtar", apt: "libarchive-tools" },
  { what: "zip", apt: "zip" },
  { what: "nginx", apt: "nginx-light" },
  { what: "tinyproxy", apt: "tinyproxy" },
  { what: "openssl", apt: "openssl" },
  { what: "bash", apt: "bash" },
  { what: "/usr/share/bash-completion/bash_completion", apt: "bash-completion" },
  { what: "zsh", apt: "zsh" },
  { what: "fish", apt: "fish" },
  { what: "chromium", apt: "chromium" },
  { what: "docker-registry", apt: "docker-registry" },
  { what: "htpasswd", apt: "apache2-utils" },
  { what: "skopeo", apt: "skopeo" },
  { what: "umoci", apt: "umoci" },
  { what: "slurmctld", apt: "slurmctld" },
  { what: "slurmd", apt: "slurmd" },
  { what: "sbatch", apt: "slurm-client" },
  { what: "munged", apt: "munge" },
  { what: "shellcheck", apt: "shellcheck" },
  { what: "qemu-storage-daemon", apt: "qemu-system-common" },
  // File systems for homes: see tests/chaos/file_systems.ts.
  { what: "mkfs.xfs", apt: "xfsprogs" },
  { what: "mkfs.btrfs", apt: "btrfs-progs" },
  { what: "mkfs.exfat", apt: "exfatprogs" },
  { what: "mount.exfat-fuse", apt: "exfat-fuse" },
  { what: "ntfs-3g", apt: "ntfs-3g" },
  { what: "fuse2fs", apt: "fuse2fs" },
  { what: "bindfs", apt: "bindfs" },
  { what: "sshfs", apt: "sshfs" },
  { what: "sshd", apt: "openssh-server" },
  { what: "curl", apt: "curl" },
  { what: "jq", apt: "jq" },
  { what: "cc", apt: "gcc" },
  { what: "/usr/include/dlfcn.h", apt: "libc6-dev" },
  ...ARM64,
];

/** Installs what is missing. If that is impossible, says what to do and ends the program. */
export async function install(needed: Needed[]): Promise<void> {
  const missing = needed.filter(({ what }) => !isThere(what)).map(({ apt }) => apt);
  if (missing.length === 0) return;
  const packages = [...new Set(missing)];
  console.error(`hotboot: will install with apt-get: ${packages.join(" ")}`);
  if (!isThere("apt-get")) {
    console.error("hotboot: apt-get is not on PATH: install them with this system's package manager, then try again");
    Deno.exit(1);
  }
  const root = Deno.uid() === 0;
  if (!root && !isThere("sudo")) {
    console.error(`hotboot: needs root or sudo: run 'apt-get install ${packages.join(" ")}' as root, then try again`);
    Deno.exit(1);
  }
  const asRoot = (args: string[]) => root ? args : ["sudo", "env", "DEBIAN_FRONTEND=noninteractive", ...args];
  const done = await run(asRoot(["apt-get", "update", "-qq"])) &&
    await run(asRoot(["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...packages]));
  if (!done) {
    console.error(`hotboot: installing ${packages.join(" ")} failed; see apt-get's output above`);
    Deno.exit(1);
  }
}

function isThere(what: string): boolean {
  const sbin = ["/usr/sbin", "/sbin"]; // not in an ordinary user's PATH
  const paths = what.startsWith("/")
    ? [what]
    : [...(Deno.env.get("PATH") ?? "").split(":"), ...sbin].map((directory) => `${directory}/${what}`);
  return paths.some((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}

async function run([program, ...args]: string[]): Promise<boolean> {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args,
    env: { DEBIAN_FRONTEND: "noninteractive" },
  }).output();
  if (!success) console.error(new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
  return success;
}
