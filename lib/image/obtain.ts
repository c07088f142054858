/** Gets an image if there is none. */

import type { Emulator } from "../instance/emulator.ts";
import { isPublished } from "../profile/profile.ts";
import { type Image, readImage } from "./image.ts";

/** The image. If there is none, pulls it from where it is published or, if the profile names no such place, builds it. */
export async function obtainImage(emulator: Emulator): Promise<Image> {
  const image = await readImage(emulator);
  if (image) return image;
  if (isPublished(emulator.profile)) {
    const { pull } = await import("./pull.ts");
    return (await pull(emulator)).image;
  }
  const { build } = await import("./build.ts");
  return (await build(emulator)).image;
}
