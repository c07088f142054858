/** Gets an image if there is none. */

import { Timeline } from "../base/timeline.ts";
import type { Emulator } from "../instance/emulator.ts";
import { isPublished } from "../profile/profile.ts";
import { type Image, readImage } from "./image.ts";
import { isBuiltIn } from "./recipe.ts";

/** The image. If there is none, pulls it from where it is published or, if the profile names no such place, builds it. */
export async function obtainImage(emulator: Emulator, timeline: Timeline = new Timeline()): Promise<Image> {
  const image = await readImage(emulator);
  if (image) {
    if (emulator.profile.image.attestation) {
      await (await import("./provenance.ts")).requireProven(emulator, image); // most have none: loads nothing then
    }
    return image;
  }
  const { profile, profileUrl, report } = emulator;
  if (isBuiltIn(profileUrl)) {
    report.step(
      `get the image of profile '${profile.name}', which is built in: for another, use --profile or 'hotboot init'`,
    );
  }
  return await timeline.phase("image", async () => {
    if (isPublished(profile)) {
      const { pull } = await import("./pull.ts");
      return (await pull(emulator)).image;
    }
    const { build } = await import("./build.ts");
    return (await build(emulator)).image;
  });
}
