/** Where the binary is: in the package for this platform, which npm installs as an optional dependency. */

import { createRequire } from "node:module";
import process from "node:process";
import { HotbootError } from "./error.ts";

/** The platforms that have a package, by Node's names, and the target that each is compiled for. */
export const PLATFORMS: Record<string, string> = {
  "linux-x64": "x86_64-unknown-linux-gnu",
  "linux-arm64": "aarch64-unknown-linux-gnu",
  "darwin-x64": "x86_64-apple-darwin",
  "darwin-arm64": "aarch64-apple-darwin",
};

/** The path of this platform's binary. @throws {HotbootError} if it is not installed, or there is none. */
export function binaryPath(platform: string = `${process.platform}-${process.arch}`): string {
  if (!Object.hasOwn(PLATFORMS, platform)) {
    throw new HotbootError(`hotboot has no binary for ${platform}: it runs on ${Object.keys(PLATFORMS).join(", ")}`);
  }
  const name = `@hotboot/${platform}`;
  try {
    return createRequire(import.meta.url).resolve(`${name}/bin/hotboot`);
  } catch {
    throw new HotbootError(
      platform.startsWith("linux") && !hasGlibc()
        ? `hotboot has no binary for Linux with musl, such as Alpine: use an image with glibc, such as node:22-bookworm`
        : `${name} is not installed, and has hotboot's binary: run 'npm install' on this machine, without --omit=optional`,
    );
  }
}

/** Why a binary that is there cannot be started. */
export function startFailure(path: string, { code, message }: NodeJS.ErrnoException): HotbootError {
  return new HotbootError(
    code === "ENOENT"
      ? `${path} cannot be started: it needs glibc, which Alpine lacks; use an image such as node:22-bookworm`
      : `${path} cannot be started: ${message}; install hotboot again`,
  );
}

function hasGlibc(): boolean {
  const report = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return report.header.glibcVersionRuntime !== undefined;
}
