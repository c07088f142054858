/**
 * The QEMUs that the end-to-end tests use, and what they keep between runs.
 *
 * HOTBOOT_TEST_QEMU names a QEMU to use instead of the system's, for guests of the host's architecture.
 */

import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path/from-file-url";
import type { Arch } from "../../lib/vm/arch.ts";
import { qemuProgram } from "../../lib/vm/probe.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
export const ARCH: Arch = Deno.build.arch === "aarch64" ? "arm64" : "amd64";
export const TEST_QEMU = Deno.env.get("HOTBOOT_TEST_QEMU");

/** Keeps images between test runs; `build` makes them again when their recipes change. */
export const CACHE = `${Deno.env.get("XDG_CACHE_HOME") || `${Deno.env.get("HOME")}/.cache`}/hotboot-tests`;

/** The QEMUs that the tests use: paths, or names to look up. */
export const QEMU: Record<Arch, string> = {
  amd64: qemuProgram("amd64"),
  arm64: qemuProgram("arm64"),
  ...(TEST_QEMU && { [ARCH]: TEST_QEMU }),
};

const newer = new Map<Arch, Promise<string>>();

/** A QEMU of 9.0 or later, from the distribution's backports, whatever the other tests use. */
export function newerQemu(arch = ARCH): Promise<string> {
  const unpack = async () => {
    const args = [`${ROOT}dev/newer_qemu.sh`, arch];
    const { code, stdout } = await new Deno.Command("bash", { args, stderr: "inherit" }).output();
    assertEquals(code, 0, "there is no newer QEMU");
    return new TextDecoder().decode(stdout).trim();
  };
  if (!newer.has(arch)) newer.set(arch, unpack());
  return newer.get(arch)!;
}

/** An environment in which `program` is the QEMU on `PATH`, whatever its name. */
export function qemuEnv(program: string, arch = ARCH): Record<string, string> {
  const directory = `${CACHE}/qemu/${encodeURIComponent(program)}`;
  Deno.mkdirSync(directory, { recursive: true });
  try {
    Deno.symlinkSync(program, `${directory}/${qemuProgram(arch)}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  return { PATH: `${directory}:${Deno.env.get("PATH")}` };
}
