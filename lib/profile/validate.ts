/** Checks a profile's file as a whole: everything that is wrong with it, and what is allowed and unwise, each with its place. */

import { dirname } from "@std/path/dirname";
import { resolve } from "@std/path/resolve";
import { type Mistake, mistake } from "./fields.ts";
import { type Place, readJson } from "./json.ts";
import { examine } from "./parse.ts";
import type { Profile, ScriptRecipe } from "./profile.ts";
import { textsOf } from "./references.ts";
import type { ReadVariable } from "./variables.ts";

/** Something to change in a profile's file, and where it is in there. */
export interface Finding extends Place {
  /** Whether it only is unwise: hotboot works with it. */
  isWarning: boolean;
  /** What it is, why, and what to do. */
  text: string;
}

/**
 * Checks the text of a profile's file.
 *
 * @param path The file, absolute: the files that it names are looked for.
 * @param read Returns the values of variables; by default this program's environment.
 * @returns All that is wrong or unwise, in the file's order.
 */
export async function validateProfile(text: string, path: string, read?: ReadVariable): Promise<Finding[]> {
  const json = readJson(text);
  const wrong = json.faults.map(({ what, more, line, column }) => ({
    line,
    column,
    isWarning: false,
    text: `the file ${what}: ${more}`,
  }));
  if (json.value === undefined) return wrong;
  const { mistakes, profile } = examine(json.value, read);
  if (profile) mistakes.push(...await missingFiles(profile, dirname(path)));
  const found = (isWarning: boolean) => ({ at, text }: Mistake) => ({ ...json.placeOf(at), isWarning, text });
  return [...wrong, ...mistakes.map(found(false)), ...(profile ? Array.from(unwise(profile), found(true)) : [])]
    .sort((one, other) => one.line - other.line || one.column - other.column);
}

/** The files that a recipe, an attestation and the config disk name, by their pointers. */
export function filesOf({ image: { build, attestation }, config }: Profile): [string, string][] {
  const script = (at: string, { script, inputs }: ScriptRecipe): [string, string][] => [
    [`${at}/script`, script],
    ...inputs.map((input, index): [string, string] => [`${at}/inputs/${index}`, input]),
  ];
  const found: [string, string][] = [];
  if (build && "script" in build) found.push(...script("#/image/build", build));
  if (build && "cloudInit" in build) {
    const at = "#/image/build/cloudInit";
    const { base, userData, bundle } = build.cloudInit;
    if ("script" in base) found.push(...script(`${at}/base`, base));
    found.push([`${at}/userData`, userData]);
    for (const [index, path] of (bundle?.paths ?? []).entries()) found.push([`${at}/bundle/paths/${index}`, path]);
  }
  if (attestation?.trustedRoot !== undefined) found.push(["#/image/attestation/trustedRoot", attestation.trustedRoot]);
  for (const [name, content] of Object.entries(config?.files ?? {})) {
    if ("file" in content && content.file !== "") found.push([`#/config/files/${name}/file`, content.file]);
  }
  return found;
}

async function missingFiles(profile: Profile, directory: string): Promise<Mistake[]> {
  const missing: Mistake[] = [];
  for (const [at, file] of filesOf(profile)) {
    const isThere = await Deno.stat(resolve(directory, file)).then(() => true, () => false);
    if (!isThere) missing.push(mistake(at, `there is no file '${file}': make it, or correct the path`));
  }
  return missing;
}

/** Shorter ones may stand in the guest for something else. */
const SHORTEST_PLACEHOLDER = 16;
/** Systems use the ports from here on for outgoing connections. Source: Linux, ip_local_port_range. */
const FIRST_OUTGOING = 32_768;

/** What is allowed, and better avoided. */
function* unwise(profile: Profile): Generator<Mistake> {
  const { image: { build, release }, ports, secrets = [], rotation, share, freeze = [], machine } = profile;
  const recipe = build &&
    ("script" in build ? build : "script" in build.cloudInit.base ? build.cloudInit.base : undefined);
  if (recipe && !recipe.inputs.some((input) => isAt(recipe.script, input))) {
    const at = build && "script" in build ? "#/image/build/inputs" : "#/image/build/cloudInit/base/inputs";
    yield mistake(at, `the script ${recipe.script} is not among them, so a change of it builds no image: add it`);
  }
  if (release && machine.network !== "restricted") {
    yield mistake(
      "#/machine",
      'the image is somebody else\'s, and its guest reaches what you reach: add "network": "restricted" if it can do without',
    );
  }
  for (const [name, { host }] of Object.entries(ports)) {
    const at = `#/ports/${name}/host`;
    if (host < 1024) yield mistake(at, `only root can listen on port ${host} in most systems: use one from 1024 on`);
    if (host >= FIRST_OUTGOING) {
      yield mistake(at, `any program's outgoing connection may take port ${host}: use one below ${FIRST_OUTGOING}`);
    }
  }
  for (const [index, { name, placeholder }] of secrets.entries()) {
    const at = `#/secrets/${index}`;
    if (placeholder.length < SHORTEST_PLACEHOLDER) {
      yield mistake(
        `${at}/placeholder`,
        `so short a text may stand elsewhere in the guest: use ${SHORTEST_PLACEHOLDER} characters or more`,
      );
    }
    const texts = rotation!.proof.flatMap(textsOf);
    for (const kind of ["secret", "placeholder"]) {
      if (texts.some((text) => text.includes(`\${${kind}.${name}}`))) continue;
      const lack = kind === "secret" ? "a new value took effect" : "the one in the image is refused";
      yield mistake("#/rotation/proof", `nothing shows that ${lack}: add a check with \${${kind}.${name}}`);
    }
  }
  if (secrets.length > 0 && freeze.length === 0) {
    yield mistake(
      "#/rotation",
      'the services run before their new secrets are in: name their systemd units in "freeze"',
    );
  }
  if (share?.readOnly === false) {
    yield mistake(
      "#/share/readOnly",
      `root in the guest can change everything below ${share.path}: leave it out if the guest only reads`,
    );
  }
}

/** Whether a path is that of a file or directory, or below it. */
function isAt(path: string, other: string): boolean {
  const [one, two] = [resolve("/", path), resolve("/", other)];
  return one === two || one.startsWith(two === "/" ? two : `${two}/`);
}
