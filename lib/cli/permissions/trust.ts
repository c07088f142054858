/**
 * Trust: what a project's `hotboot.json` says is done only after the user has allowed it, as it is, for its real path. The
 * launcher asks before the command begins. No command can write where that is recorded.
 */

import { exists } from "@std/fs/exists";
import { dirname } from "@std/path/dirname";
import { fromFileUrl } from "@std/path/from-file-url";
import { HotbootError } from "../../base/error.ts";
import { writeJson } from "../../base/files.ts";
import { sha256 } from "../../base/hash.ts";
import { describeFiles, digestOfLines, isBuiltIn } from "../../image/recipe.ts";
import { type Emulator, followLinks } from "../../instance/emulator.ts";
import { privateDirectory } from "../../instance/home.ts";
import { isWithin } from "../../instance/shared_part.ts";
import type { Arguments, Command } from "../commands/command.ts";
import { ask, canAsk } from "../ui/ask.ts";
import { printError } from "../ui/console.ts";
import { configFiles, recipe } from "./grants.ts";
import { summaryOf } from "./trust_summary.ts";

/** What is asked for. */
export interface Trusting {
  /** The command's arguments. */
  args: Arguments;
  /** What the command does at the most; by default all that the profile says. */
  needs?: Command["trust"];
  /** The command may use the recipe. */
  usesRecipe: boolean;
  /** What the user has typed: the command `trust`, the same with `--remove`, or the option of another command. */
  typed?: "trust" | "remove" | "option";
  /** Ends the question. */
  signal: AbortSignal;
}

/** What was trusted: one file for each profile. */
interface Trusted {
  path: string;
  /** The profile's name, which its instances have. */
  name: string;
  /** Digest of the profile, and of the files for its config disk; absent: no longer trusted. */
  profile?: string;
  /** Digest of the recipe's files. They count only for who uses them: a project's own sources may be among them. */
  recipe?: string;
}

/**
 * Asks the user about a profile that was not trusted as it is, if there is a terminal.
 *
 * @throws {HotbootError} if it is not trusted then, or says what no project's profile may.
 */
export async function requireTrust(emulator: Emulator, trusting: Trusting): Promise<void> {
  const { profileUrl } = emulator;
  if (profileUrl.protocol !== "file:" || isBuiltIn(profileUrl)) {
    throw new HotbootError(
      "there is no hotboot.json here or above, and a built-in profile needs no trust: change to a project's directory",
    );
  }
  const path = fromFileUrl(profileUrl);
  const isUsualHome = await requireOutside(emulator, path, trusting.args);
  if (trusting.needs === "looks" && isUsualHome) return;
  const file = await trustFile(path);
  // Another project's instances have another name, unless this one has taken it.
  if (trusting.needs === "ends" && isUsualHome && (await readTrusted(file))?.name === emulator.profile.name) return;
  if (trusting.typed === "remove") {
    const trusted = await readTrusted(file);
    if (trusted) await writeJson(file, { path, name: trusted.name } satisfies Trusted);
    return await say(`${path} is not trusted any more`, trusting);
  }
  await requireInside(emulator, path);
  await requireAllowed(emulator, path, file, trusting);
}

/** Compares with what was trusted, and asks and records if need be. */
async function requireAllowed(emulator: Emulator, path: string, file: string, trusting: Trusting): Promise<void> {
  const { typed, usesRecipe, signal } = trusting;
  const trusted = await readTrusted(file);
  const profile = await digestOfLines([
    await sha256(await Deno.readFile(path)),
    ...await describe(emulator, configFiles(emulator)),
  ]);
  const isSame = trusted?.profile === profile;
  if (isSame && !usesRecipe && !typed) return;
  const { name } = emulator.profile;
  const now: Trusted = { path, name, profile, recipe: await digestOfLines(await describe(emulator, recipe(emulator))) };
  if (isSame && trusted.recipe === now.recipe) {
    if (typed === "trust") await say(`${path} is trusted already`, trusting);
    return;
  }
  const why = `${path}${
    trusted?.profile ? ", or a file that it names, has changed since you trusted it" : " is not trusted yet"
  }`;
  const refuse = () => {
    throw new HotbootError(`${why}, so nothing was done: read it, then type 'hotboot trust', or add --trust`);
  };
  const summary = async () => await summaryOf(emulator, path);
  if (typed) await say(`${path} is trusted from now on.\n${await summary()}`, trusting);
  else {
    if (!canAsk()) refuse();
    await printError(`hotboot: ${why}.\n${await summary()}`);
    if (!/^y(es)?$/i.test(await ask("Do you trust it? [y/N] ", signal))) refuse();
  }
  await privateDirectory(dirname(file));
  await writeJson(file, now, { flush: true });
}

async function say(text: string, { args: { switches } }: Trusting): Promise<void> {
  if (!switches.has("quiet")) await printError(`hotboot: ${text}`);
}

/** Where it is recorded that a profile is trusted. @throws {HotbootError} if the project could write that itself. */
async function trustFile(path: string): Promise<string> {
  const directory = trustDirectory();
  if (await isInside(directory, dirname(path))) {
    throw new HotbootError(
      `what you trust is recorded in ${directory}, which is in the project itself: set XDG_CONFIG_HOME to another directory`,
    );
  }
  return `${directory}/${await sha256(path)}.json`;
}

/** The user's own directory, wherever a profile's home is. Source: XDG Base Directory Specification. */
function trustDirectory(): string {
  const config = Deno.env.get("XDG_CONFIG_HOME") ?? "";
  if (config.startsWith("/")) return `${config}/hotboot/trusted`; // a relative one does not count
  const user = Deno.env.get("HOME");
  if (user) return `${user}/.config/hotboot/trusted`;
  throw new HotbootError("HOME is not set, so hotboot cannot know what you trust: set it, or use --profile");
}

async function readTrusted(file: string): Promise<Trusted | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Lines about files, for a digest. Of a link, about the file that it leads to; what is missing is reported by who needs it. */
async function describe(emulator: Emulator, paths: string[]): Promise<string[]> {
  const there: string[] = [];
  for (const path of paths) if (await exists(path)) there.push(await Deno.realPath(path));
  return await describeFiles(emulator, there);
}

/**
 * Whether its files are where all profiles have theirs, or where the user says.
 *
 * @throws {HotbootError} if the profile has them in the project, where a repository can have put disks and records.
 */
async function requireOutside({ profile, home }: Emulator, path: string, { values }: Arguments): Promise<boolean> {
  const isNamed = values.home !== undefined || Boolean(Deno.env.get("HOTBOOT_HOME"));
  const { directory, instances, images } = profile.home ?? {};
  const own = isNamed ? undefined : directory;
  if (own !== undefined && !/^(\/|~\/|~$)/.test(own)) {
    throw new HotbootError(`${path}: home.directory is '${own}', which is relative: use ~/… or an absolute path`);
  }
  const places = [
    ...own === undefined ? [] : [home.root],
    ...instances?.startsWith("/") ? [home.instances] : [],
    ...images?.startsWith("/") ? [home.images] : [],
  ];
  for (const place of places) {
    if (await isInside(place, dirname(path))) {
      throw new HotbootError(`${path}: its home ${place} is in the project: use a directory elsewhere, or --home`);
    }
  }
  return places.length === 0;
}

/** @throws {HotbootError} if it names files outside of the project. */
async function requireInside(emulator: Emulator, path: string): Promise<void> {
  for (const file of [...recipe(emulator), ...configFiles(emulator)]) {
    if (!await isInside(file, dirname(path))) {
      throw new HotbootError(
        `${path} names ${file}, which is outside of its directory: move it there, or use --profile`,
      );
    }
  }
}

/** Whether a path leads to `directory` or below it, or is there itself. */
async function isInside(path: string, directory: string): Promise<boolean> {
  return isWithin(await followLinks(path), directory);
}
