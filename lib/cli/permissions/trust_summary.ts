/** What a profile does to this machine, in a few lines for the user who is to trust it. */

import { dirname } from "@std/path/dirname";
import { printable } from "../../base/printable.ts";
import type { Emulator } from "../../instance/emulator.ts";
import { parseJson } from "../../profile/json.ts";
import { configFiles, recipe, recipeOf } from "./grants.ts";

/** The lines. Each begins with a verb, and stays short whatever the profile says. */
export async function summaryOf(emulator: Emulator, path: string): Promise<string> {
  const { profile: { share, image: { release, oci }, machine, environment, project }, home } = emulator;
  const { script, cloudInit } = recipeOf(emulator);
  const inside = `${dirname(path)}/`;
  const files = [...recipe(emulator), ...configFiles(emulator)]
    .map((file) => file.startsWith(inside) ? file.slice(inside.length) : file);
  const base = cloudInit && "url" in cloudInit.base ? [URL.parse(cloudInit.base.url)?.host ?? cloudInit.base.url] : [];
  const hosts = [
    ...oci ? [oci.replace(/^oci:\/\//, "")] : [],
    ...release ? [`github.com/${release.repository}`] : [],
    ...base,
  ];
  const variables = variablesIn(parseJson(await Deno.readTextFile(path)));
  const set = Object.keys({ ...environment, ...project?.environment });
  const writable = share?.readOnly === false ? "can change" : "can read";
  return [
    `  runs       ${
      script ? `${short(script.script)} on this machine, with all your rights` : "nothing but the guest"
    }; ${`keeps its files in ${short(home.root)}`}`,
    `  shares     ${share ? `${short(share.path)}, which the guest ${writable}` : "no directory"}; sets ${
      list("variable", set)
    } for 'hotboot run'`,
    `  reads      ${list("variable", variables)}; ${list("file", [...new Set(files)])}`,
    `  connects   to ${hosts.length > 0 ? list("host", hosts) : "no host"}; the guest ${
      machine.network === "restricted" ? "reaches nothing" : "reaches what you reach"
    }`,
  ].join("\n");
}

/** The variables that a profile names. */
function variablesIn(value: unknown): string[] {
  const names = JSON.stringify(value).matchAll(/\$\{env\.(\w+)/g);
  return [...new Set(Array.from(names, ([, name]) => name))];
}

const MOST = 6;
const LONGEST = 60;

/** Nobody sees what a long list has pushed off the screen. */
function list(what: string, items: string[]): string {
  if (items.length === 0) return `no ${what}`;
  const shown = items.slice(0, MOST).map(short).join(", ");
  return `the ${what}${items.length > 1 ? "s" : ""} ${shown}${
    items.length > MOST ? ` and ${items.length - MOST} more` : ""
  }`;
}

function short(text: string): string {
  const line = printable(text);
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line;
}
