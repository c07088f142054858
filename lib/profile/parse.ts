/** Reads a profile: fills in variables, checks it, and adds defaults. */

import { type OutputUnit, type Schema, Validator } from "@cfworker/json-schema";
import { HotbootError, messageOf } from "../base/error.ts";
import { fill } from "../base/fill.ts";
import {
  complaint,
  type FieldSchema,
  type Filled,
  fillFields,
  isNumeric,
  keywordAt,
  knownFields,
  type Mistake,
  mistake,
} from "./fields.ts";
import { type AttestationSource, isPublished, type Profile } from "./profile.ts";
import { parseJson } from "./json.ts";
import { danglingReferences, textsOf } from "./references.ts";
import { placeholdersOf, secretValue } from "./secrets.ts";
import type { ReadVariable } from "./variables.ts";
import schema from "./schema.json" with { type: "json" };

/**
 * The profile in `text`.
 *
 * @param origin Its name in errors: its path.
 * @param read Returns the values of variables; by default this program's environment.
 * @throws {HotbootError} with the path of the first field that is wrong.
 */
export function parseProfile(text: string, origin: string, read?: ReadVariable): Profile {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (error) {
    throw new HotbootError(`profile ${origin} ${messageOf(error)}`);
  }
  return completeProfile(value, origin, { read });
}

/**
 * The same for parsed JSON.
 *
 * @param options `isTested`: a test has checked it against the schema, without variables.
 */
export function completeProfile(
  given: unknown,
  origin: string,
  { read, isTested = false }: { read?: ReadVariable; isTested?: boolean } = {},
): Profile {
  const { value, filled, mistakes: [unfilled] } = fillFields(given, schema as FieldSchema, read);
  const refuse = ({ text }: Mistake) => {
    throw new HotbootError(`profile ${origin}: ${text}`);
  };
  if (unfilled) refuse(unfilled);
  if (!isTested || filled.size > 0) {
    const errors = schemaErrors(value);
    if (errors.length > 0) refuse(explain(innermost(errors), filled));
  }
  const profile = completed(value, given);
  const [first] = misfits(profile, filled);
  if (first) refuse(first);
  return profile;
}

/**
 * Everything that is wrong with parsed JSON, at once. What its fields say together is looked at when each is right by itself.
 *
 * @returns The mistakes, and the profile if there is none.
 */
export function examine(given: unknown, read?: ReadVariable): { mistakes: Mistake[]; profile?: Profile } {
  const { value, filled, mistakes } = fillFields(given, schema as FieldSchema, read);
  const found = new Set(mistakes.map(({ at }) => at));
  for (const error of leaves(schemaErrors(value))) {
    if (!found.has(error.instanceLocation)) mistakes.push(explain(error, filled));
    found.add(error.instanceLocation);
  }
  if (mistakes.length > 0) return { mistakes };
  const profile = completed(value, given);
  const together = Array.from(misfits(profile, filled));
  return together.length > 0 ? { mistakes: together } : { mistakes, profile };
}

function schemaErrors(value: unknown): OutputUnit[] {
  return new Validator(schema as unknown as Schema, "2020-12", false).validate(value).errors;
}

/** With what is understood without saying. */
function completed(value: unknown, given: unknown): Profile {
  const raw = value as Omit<Profile, "timeouts"> & { timeouts?: Partial<Profile["timeouts"]> };
  for (const [name, port] of Object.entries(raw.ports)) {
    const [, variable] = String((given as Profile).ports[name].host).match(/\$\{env\.(\w+)/) ?? [];
    if (variable) port.variable = variable;
  }
  return { ...raw, timeouts: { boot: 240, resume: 45, ...raw.timeouts } };
}

/** What does not fit together in a profile whose fields are right, each by itself. */
function* misfits(profile: Profile, filled: Map<string, Filled>): Generator<Mistake> {
  const { ports, image: { build, attestation }, health, secrets = [], rotation } = profile;
  if (build) {
    yield* unlessOne(build, ["script", "cloudInit"], "#/image/build");
    if ("cloudInit" in build) {
      const { base } = build.cloudInit;
      const at = "#/image/build/cloudInit/base";
      yield* unlessOne(base, ["url", "file", "script"], at);
      if ("url" in base) yield* unlessOne(base, ["sha256", "sha512"], at);
    }
  }
  if (attestation) yield* vainAttestation(profile, attestation);
  const noPort = (name: string) => `there is no port '${name}': name one of ports`;
  for (const [index, { port }] of health.entries()) {
    if (!Object.hasOwn(ports, port)) yield mistake(`#/health/${index}/port`, noPort(port));
  }
  const values = placeholdersOf(secrets);
  if (Object.keys(values).length < secrets.length) {
    yield mistake("#/secrets", "two have the same name: rename one of them");
  }
  const files = secrets.flatMap(({ file }) => file?.toLowerCase() ?? []); // some file systems ignore case
  if (new Set(files).size < files.length) yield mistake("#/secrets", "two have the same file: rename one of them");
  for (const [index, check] of rotation?.proof.entries() ?? []) {
    const at = `#/rotation/proof/${index}`;
    if (!Object.hasOwn(ports, check.port)) yield mistake(at, noPort(check.port));
    try {
      for (const text of textsOf(check)) fill(text, (variable) => secretValue(variable, values, values));
    } catch (error) {
      yield mistake(at, messageOf(error));
    }
  }
  yield* danglingReferences(profile);
  const owners = new Map<number, string>();
  for (const [name, { host }] of Object.entries(ports)) {
    const owner = owners.get(host);
    if (owner) yield { at: `#/ports/${name}/host`, text: sharedPort(host, name, owner, filled) };
    owners.set(host, name);
  }
}

/** An attestation that nothing could have. */
function* vainAttestation(profile: Profile, { workflow, repository }: AttestationSource): Generator<Mistake> {
  const at = "#/image/attestation";
  if (!isPublished(profile)) {
    yield mistake(at, 'it is of an image that is pulled: add "release" or "oci", or remove it');
  }
  if (repository === undefined || workflow.includes("@") || workflow.startsWith(`${repository}/`)) return;
  yield mistake(`${at}/workflow`, `it is none of ${repository}: add its own version, as in .yml@refs/tags/v1`);
}

function* unlessOne(value: object, fields: string[], at: string): Generator<Mistake> {
  if (fields.filter((field) => field in value).length === 1) return;
  yield mistake(at, `use exactly one of ${fields.map((field) => `"${field}"`).join(", ")}`);
}

/** Two ports that are the same on the host; names the variable that made them so. */
function sharedPort(host: number, name: string, owner: string, filled: Map<string, Filled>): string {
  for (const [one, other] of [[name, owner], [owner, name]]) {
    const at = `#/ports/${one}/host`;
    const field = filled.get(at);
    if (field) return complaint(field, at, `which is also the port of '${other}': choose another`);
  }
  return `ports.${name}.host: ${host} is also the port of '${owner}': choose another`;
}

/** The innermost error; the outer ones only say that something inside is wrong. */
function innermost(errors: OutputUnit[]): OutputUnit {
  return errors.reduce((deepest, error) =>
    depth(error.instanceLocation) > depth(deepest.instanceLocation) ||
      (error.instanceLocation === deepest.instanceLocation && error.keyword !== "properties")
      ? error
      : deepest
  );
}

/** The errors that say more than that something inside is wrong. */
function leaves(errors: OutputUnit[]): OutputUnit[] {
  return errors.filter(({ keyword }) => !OUTER.has(keyword));
}

/** The keywords of the others. */
const OUTER = new Set(["properties", "additionalProperties", "items", "propertyNames", "$ref"]);

/** An error as `machine.memory: …`. */
function explain(error: OutputUnit, filled: Map<string, Filled>): Mistake {
  const { instanceLocation: at } = error;
  const field = filled.get(at);
  if (field) return { at, text: complaint(field, at, isNumeric(field.schema) ? undefined : inWords(error)) };
  return mistake(at, inWords(error));
}

/** The validator's most frequent messages, for a person. */
function inWords({ error, keyword, keywordLocation, instanceLocation: at }: OutputUnit): string {
  if (keyword === "pattern") {
    return `it does not match ${keywordAt(schema as FieldSchema, keywordLocation)}: correct it`;
  }
  const [, missing] = error.match(/^Instance does not have required property "(.*)"\.$/) ?? [];
  if (missing !== undefined) return `the field "${missing}" is missing: add it`;
  return error === "False boolean schema." ? unknownField(at) : `${error.replace(/\.$/, "")}: correct it`;
}

function unknownField(at: string): string {
  const names = knownFields(schema as FieldSchema, at.slice(0, at.lastIndexOf("/")));
  return `there is no such field${names.length > 0 ? `; there are ${names.join(", ")}` : ""}: correct or remove it`;
}

function depth(location: string): number {
  return location.split("/").length;
}
