/**
 * Prepares what tests need, so that none of them waits for it:
 *
 *     deno run -A tests/e2e/prepare.ts WHAT
 *
 * WHAT is a guest, whose image is built, or `qemu`, the newer QEMU. For another architecture than this machine's, add
 * it after a slash: `micro/arm64`.
 */

import type { Arch } from "../../lib/vm/arch.ts";
import { buildImage, type Guest } from "./guest_home.ts";
import { ARCH, newerQemu } from "./qemu.ts";

const [name, arch = ARCH] = Deno.args[0].split("/") as [Guest | "qemu", Arch?];
if (name === "qemu") console.log(await newerQemu(arch));
else console.log(await buildImage(name, arch));
