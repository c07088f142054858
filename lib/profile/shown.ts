/** A profile as it is understood, for people and programs: with its defaults and absolute paths, and without secret values. */

import { resolve } from "@std/path/resolve";
import { type FieldSchema, resolved } from "./fields.ts";
import type { LoadedProfile } from "./profile.ts";
import schema from "./schema.json" with { type: "json" };
import { redact, type Secrets } from "./secrets.ts";
import { filesOf } from "./validate.ts";

/** Variables with such names have values that nobody else is to see. */
const SECRET = /SECRET|PASSW|KEY|CREDENTIAL|AUTH|PRIVATE/i;

/**
 * The profile with everything that goes without saying.
 *
 * @param directory The base of its relative paths.
 * @param variables The variables that it was made with; in place of a value that may be secret, there is `<NAME>`.
 */
export function shownProfile(
  { profile }: LoadedProfile,
  directory: string,
  variables: Secrets,
): Record<string, unknown> {
  const shown = withDefaults(structuredClone(profile), schema as FieldSchema) as Record<string, unknown>;
  for (const [at, file] of filesOf(profile)) replace(shown, at, resolve(directory, file));
  const hidden = Object.fromEntries(Object.entries(variables).filter(([name, value]) => value && SECRET.test(name)));
  return JSON.parse(
    JSON.stringify(shown),
    (_, value) => typeof value === "string" ? redact(value, hidden) : value,
  );
}

/** Adds the defaults of the schema to all objects that are there. */
function withDefaults(value: unknown, found: FieldSchema = {}): unknown {
  const { properties = {}, additionalProperties, items } = resolved(schema as FieldSchema, found);
  if (Array.isArray(value)) return value.map((each) => withDefaults(each, items));
  if (typeof value !== "object" || value === null) return value;
  const others = typeof additionalProperties === "object" ? additionalProperties : undefined;
  const own = Object.entries(value).map(([name, each]) => [name, withDefaults(each, properties[name] ?? others)]);
  const missing = Object.entries(properties)
    .filter(([name, { default: usual }]) => usual !== undefined && !Object.hasOwn(value, name))
    .map(([name, { default: usual }]) => [name, usual]);
  return Object.fromEntries([...own, ...missing]);
}

function replace(value: unknown, at: string, by: string): void {
  const steps = at.split("/").slice(1);
  const last = steps.pop()!;
  const parent = steps.reduce((inner, step) => (inner as Record<string, unknown>)[step], value);
  (parent as Record<string, unknown>)[last] = by;
}
