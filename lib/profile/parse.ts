/** Checking a profile's text. A module of its own, because the built-in profiles need none of it. */

import { type OutputUnit, type Schema, Validator } from "@cfworker/json-schema";
import { HotbootError, messageOf } from "../error.ts";
import { fill } from "../fill.ts";
import { secretValue } from "../secrets/proof.ts";
import type { Profile } from "./profile.ts";
import { danglingReference } from "./references.ts";
import schema from "./schema.json" with { type: "json" };

/**
 * The profile that `text` describes.
 *
 * @param origin What to call it in an error: its path.
 * @throws {HotbootError} with the path of the first field that is wrong.
 */
export function parseProfile(text: string, origin: string): Profile {
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\ufeff/, ""));
  } catch (error) {
    throw new HotbootError(`profile ${origin} is no JSON: ${messageOf(error)}`);
  }
  const { valid, errors } = new Validator(schema as unknown as Schema, "2020-12", false).validate(value);
  if (!valid) throw new HotbootError(`profile ${origin}: ${explain(errors)}`);

  const raw = value as Omit<Profile, "timeouts"> & { timeouts?: Partial<Profile["timeouts"]> };
  const profile: Profile = { ...raw, timeouts: { boot: 240, resume: 45, ...raw.timeouts } };
  for (const [index, check] of profile.health.entries()) {
    if (!Object.hasOwn(profile.ports, check.port)) {
      throw new HotbootError(`profile ${origin}: health[${index}].port: there is no port '${check.port}'`);
    }
  }
  const { secrets = [], rotation } = profile;
  const values = Object.fromEntries(secrets.map(({ name, placeholder }) => [name, placeholder]));
  if (Object.keys(values).length < secrets.length) {
    throw new HotbootError(`profile ${origin}: secrets: two have the same name`);
  }
  for (const [index, check] of rotation?.proof.entries() ?? []) {
    const wrong = (why: string) => new HotbootError(`profile ${origin}: rotation.proof[${index}]: ${why}`);
    if (!Object.hasOwn(profile.ports, check.port)) throw wrong(`there is no port '${check.port}'`);
    try {
      const texts = [...Object.values(check.headers ?? {}), ...check.contains ?? [], ...check.excludes ?? []];
      for (const text of texts) fill(text, (variable) => secretValue(variable, values, values));
    } catch (error) {
      throw wrong(messageOf(error));
    }
  }
  const dangling = danglingReference(profile);
  if (dangling) throw new HotbootError(`profile ${origin}: ${dangling}`);
  const owners = new Map<number, string>();
  for (const [name, { host }] of Object.entries(profile.ports)) {
    const owner = owners.get(host);
    if (owner) throw new HotbootError(`profile ${origin}: ports.${name}.host: ${host} is also the port of '${owner}'`);
    owners.set(host, name);
  }
  return profile;
}

/** The innermost error, as `machine.memory: …`: the outer ones only say that something within is wrong. */
function explain(errors: OutputUnit[]): string {
  const innermost = errors.reduce((deepest, error) =>
    depth(error.instanceLocation) > depth(deepest.instanceLocation) ||
      (error.instanceLocation === deepest.instanceLocation && error.keyword !== "properties")
      ? error
      : deepest
  );
  const path = innermost.instanceLocation.slice(2).split("/").filter((part) => part !== "")
    .map((part) => /^\d+$/.test(part) ? `[${part}]` : `.${part.replaceAll("~1", "/").replaceAll("~0", "~")}`)
    .join("").replace(/^\./, "");
  return `${path || "the whole file"}: ${innermost.error}`;
}

function depth(location: string): number {
  return location.split("/").length;
}
