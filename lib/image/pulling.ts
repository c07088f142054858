/** What pulls from releases and from registries have in common. */

import { HotbootError } from "../base/error.ts";
import { WrongContent } from "../release/options.ts";
import { type Image, requireOwnDisk } from "./image.ts";

/** What to pull, if not what the profile says. Name at most one of branch, tag, pull request and run. */
export interface PullOptions {
  /** `owner/name`. */
  repository?: string;
  /** The branch whose release to pull. */
  branch?: string;
  /** The release's tag, or the tag in the registry. */
  tag?: string;
  /** The pull request whose latest successful build to pull. */
  pullRequest?: number;
  /** The workflow run that built it. */
  run?: number;
  /** Pull it even if it is up to date. */
  force?: boolean;
}

/** The result of a pull. */
export interface PullResult {
  /** The image. */
  image: Image;
  /** False if it was up to date already. */
  pulled: boolean;
  /** From a registry, or by a release's index: how many bytes the image's chunks have there. */
  size?: number;
  /** From there, too: how many bytes were downloaded; the other chunks were on this machine. */
  moved?: number;
}

/** @throws {WrongContent} if a pulled disk is none of its own. */
export async function requirePublishedDisk(path: string): Promise<void> {
  await requireOwnDisk(path, "pull another image").catch((error) => {
    throw error instanceof HotbootError ? new WrongContent(error.message) : error;
  });
}
