/** Getting an image where there is none. */

import type { Emulator } from "./emulator.ts";
import { type Image, readImage } from "./image.ts";

/** The image, made first when there is none. */
export async function obtainImage(emulator: Emulator): Promise<Image> {
  const image = await readImage(emulator);
  if (image) return image;
  const { build } = await import("./build.ts");
  return (await build(emulator)).image;
}
