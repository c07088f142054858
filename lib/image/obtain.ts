/** Getting an image where there is none. */

import type { Emulator } from "../instance/emulator.ts";
import { type Image, readImage } from "./image.ts";

/** The image; where there is none it is pulled from its release first or, where the profile names none, built. */
export async function obtainImage(emulator: Emulator): Promise<Image> {
  const image = await readImage(emulator);
  if (image) return image;
  if (emulator.profile.image.release) {
    const { pull } = await import("./pull.ts");
    return (await pull(emulator)).image;
  }
  const { build } = await import("./build.ts");
  return (await build(emulator)).image;
}
