/** Reads a profile: fills in variables, checks it, and adds defaults. */

import { type OutputUnit, type Schema, Validator } from "@cfworker/json-schema";
import { HotbootError, messageOf } from "../base/error.ts";
import { fill } from "../base/fill.ts";
import { complaint, type FieldSchema, type Filled, fillFields, isNumeric, knownFields, pathOf } from "./fields.ts";
import type { Profile } from "./profile.ts";
import { parseJson } from "./json.ts";
import { danglingReference, textsOf } from "./references.ts";
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
  const wrong = (why: string) => new HotbootError(`profile ${origin}: ${why}`);
  const { value, filled } = fillIn(given, wrong, read);
  if (!isTested || filled.size > 0) {
    const { valid, errors } = new Validator(schema as unknown as Schema, "2020-12", false).validate(value);
    if (!valid) throw wrong(explain(errors, filled));
  }

  const raw = value as Omit<Profile, "timeouts"> & { timeouts?: Partial<Profile["timeouts"]> };
  const profile: Profile = { ...raw, timeouts: { boot: 240, resume: 45, ...raw.timeouts } };
  const { build } = profile.image;
  if (build) {
    requireOne(build, ["script", "cloudInit"], `profile ${origin}: image.build`);
    if ("cloudInit" in build) {
      requireOne(build.cloudInit.base, ["url", "file", "script"], `profile ${origin}: image.build.cloudInit.base`);
    }
  }
  for (const [index, check] of profile.health.entries()) {
    if (!Object.hasOwn(profile.ports, check.port)) {
      throw wrong(`health[${index}].port: there is no port '${check.port}': name one of ports`);
    }
  }
  const { secrets = [], rotation } = profile;
  const values = placeholdersOf(secrets);
  if (Object.keys(values).length < secrets.length) throw wrong("secrets: two have the same name: rename one of them");
  const files = secrets.flatMap(({ file }) => file?.toLowerCase() ?? []); // some file systems ignore case
  if (new Set(files).size < files.length) throw wrong("secrets: two have the same file: rename one of them");
  for (const [index, check] of rotation?.proof.entries() ?? []) {
    const place = `rotation.proof[${index}]`;
    if (!Object.hasOwn(profile.ports, check.port)) {
      throw wrong(`${place}: there is no port '${check.port}': name one of ports`);
    }
    try {
      for (const text of textsOf(check)) fill(text, (variable) => secretValue(variable, values, values));
    } catch (error) {
      throw wrong(`${place}: ${messageOf(error)}`);
    }
  }
  const dangling = danglingReference(profile);
  if (dangling) throw new HotbootError(`profile ${origin}: ${dangling}`);
  const owners = new Map<number, string>();
  for (const [name, port] of Object.entries(profile.ports)) {
    const { host } = port;
    const [, variable] = String((given as Profile).ports[name].host).match(/\$\{env\.(\w+)/) ?? [];
    if (variable) port.variable = variable;
    const owner = owners.get(host);
    if (owner) throw wrong(sharedPort(host, name, owner, filled));
    owners.set(host, name);
  }
  return profile;
}

/** @throws {HotbootError} unless exactly one of the fields exists. */
function requireOne(value: object, fields: string[], what: string): void {
  if (fields.filter((field) => field in value).length === 1) return;
  throw new HotbootError(`${what}: use exactly one of ${fields.map((field) => `"${field}"`).join(", ")}`);
}

function fillIn(given: unknown, wrong: (why: string) => HotbootError, read?: ReadVariable) {
  try {
    return fillFields(given, schema as FieldSchema, read);
  } catch (error) {
    throw wrong(messageOf(error));
  }
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

/** The innermost error, as `machine.memory: …`; the outer ones only say that something inside is wrong. */
function explain(errors: OutputUnit[], filled: Map<string, Filled>): string {
  const { instanceLocation: at, error } = errors.reduce((deepest, error) =>
    depth(error.instanceLocation) > depth(deepest.instanceLocation) ||
      (error.instanceLocation === deepest.instanceLocation && error.keyword !== "properties")
      ? error
      : deepest
  );
  const field = filled.get(at);
  return field
    ? complaint(field, at, isNumeric(field.schema) ? undefined : error)
    : `${pathOf(at) || "the whole file"}: ${inWords(error, at)}`;
}

/** The validator's most frequent messages, for a person. */
function inWords(error: string, at: string): string {
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
