/**
 * Makes `lib/ui/assets.json`, the page of `hotboot ui` as browsers load it, from `lib/ui/browser/`:
 *
 *     deno run -A dev/page.ts
 *
 * It is in the repository, so that the program runs from sources without this step. A unit test holds that it is current.
 */

import { importArguments, ROOT } from "./deno.ts";

/** The result. */
export const ASSETS = `${ROOT}lib/ui/assets.json`;
const SOURCES = `${ROOT}lib/ui/browser/`;

/** The page's files, by name. */
export async function makeAssets(): Promise<Record<string, string>> {
  const args = ["-q", ...await importArguments(), "--platform=browser", "--minify", `${SOURCES}page.tsx`];
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: ["bundle", ...args] }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  const names = ["page.html", "page.css", "icon.svg"];
  const texts = await Promise.all(names.map(async (name) => [name, await Deno.readTextFile(SOURCES + name)]));
  return { ...Object.fromEntries(texts), "page.js": new TextDecoder().decode(stdout) };
}

if (import.meta.main) await Deno.writeTextFile(ASSETS, `${JSON.stringify(await makeAssets(), null, 2)}\n`);
