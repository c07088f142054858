/** Gets an image if there is none. */

import { Timeline } from "../base/timeline.ts";
import type { Emulator } from "../instance/emulator.ts";
import { type Image, readImage } from "./image.ts";
import { isBuiltIn } from "./recipe.ts";

/** The image. If there is none, pulls it from its release or, if the profile names no release, builds it. */
export async function obtainImage(emulator: Emulator, timeline: Timeline = new Timeline()): Promise<Image> {
  const image = await readImage(emulator);
  if (image) return image;
  const { profile, profileUrl, report } = emulator;
  if (isBuiltIn(profileUrl)) {
    report.step(
      `get the image of profile '${profile.name}', which is built in: for another, use --profile or 'hotboot init'`,
    );
  }
  return await timeline.phase("image", async () => {
    if (profile.image.release) {
      const { pull } = await import("./pull.ts");
      return (await pull(emulator)).image;
    }
    const { build } = await import("./build.ts");
    return (await build(emulator)).image;
  });
}
