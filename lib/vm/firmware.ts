/**
 * UEFI firmware for arm64 guests whose disk boots by itself. (amd64 guests have theirs: QEMU's machine brings a BIOS.)
 *
 * It is loaded with `-bios` and not into a flash device of its own: that takes an image of any size, and the variables
 * it keeps are in the machine's memory then, where they are saved and restored with everything else. They begin empty
 * at each boot, so the firmware starts what UEFI calls the default boot path, `\EFI\BOOT\BOOTAA64.EFI`.
 */

import { HostError } from "../base/error.ts";

/** What it is called in the directory that QEMU's own data lies in. */
const OF_QEMU = "edk2-aarch64-code.fd";

/** Where the distributions' own packages have it. */
const OF_PACKAGES = [
  "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", // Debian, Ubuntu
  "/usr/share/AAVMF/AAVMF_CODE.fd", // the same, padded to the size of a flash device
  "/usr/share/edk2/aarch64/QEMU_EFI.fd", // Fedora, Arch
  "/usr/share/edk2-armvirt/aarch64/QEMU_EFI.fd", // Arch, formerly
  "/usr/share/qemu/qemu-uefi-aarch64.bin", // openSUSE
];

/** Where QEMU's own data may lie: beside the program, whatever its prefix, or in one of the usual places. */
function shareDirectories(qemu: string): string[] {
  const beside = qemu.replace(/\/[^/]*\/[^/]*$/, "/share/qemu");
  return [...new Set([beside, "/opt/homebrew/share/qemu", "/usr/local/share/qemu", "/usr/share/qemu"])];
}

/** Where it is looked for, as absolute paths; the first that is there is taken. @param qemu As for {@linkcode findFirmware}. */
export function firmwarePlaces(qemu: string): string[] {
  return [...shareDirectories(qemu).map((directory) => `${directory}/${OF_QEMU}`), ...OF_PACKAGES];
}

/**
 * The absolute path of UEFI firmware for arm64. Needs read permission for the places where it may be.
 *
 * @param qemu The absolute path of the QEMU that is to load it, which may have it beside itself.
 * @param isFile Whether a file is there.
 * @throws {HostError} if there is none, with the package to install.
 */
export async function findFirmware(
  qemu: string,
  isFile: (path: string) => Promise<boolean> = hasFile,
): Promise<string> {
  for (const path of firmwarePlaces(qemu)) if (await isFile(path)) return path;
  throw new HostError(
    "an arm64 guest needs UEFI firmware to boot this image, and there is none here",
    "install it ('apt install qemu-efi-aarch64', 'dnf install edk2-aarch64', or 'brew install qemu' on macOS)",
  );
}

function hasFile(path: string): Promise<boolean> {
  return Deno.stat(path).then(({ isFile }) => isFile, () => false);
}
