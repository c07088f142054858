/** Checks a profile's references, which its schema cannot check. */

import { messageOf } from "../base/error.ts";
import { fill } from "../base/fill.ts";
import { isNotSet } from "./closed_variables.ts";
import type { Port, Profile, ProofCheck } from "./profile.ts";
import { placeholdersOf, secretValue } from "./secrets.ts";

/** The values of `ports.NAME.host` and `ports.NAME.guest`. */
export function portValue(ports: Record<string, Port>, variable: string): string | undefined {
  const [, name, side] = variable.match(/^ports\.([^.]+)\.(host|guest)$/) ?? [];
  return name && Object.hasOwn(ports, name) ? String(ports[name][side as keyof Port]) : undefined;
}

/** All texts of a check that may contain variables. */
export function textsOf({ headers = {}, contains = [], excludes = [] }: ProofCheck): string[] {
  return [...Object.values(headers), ...contains, ...excludes];
}

/** The first unknown variable in the project request's own texts and the environment, or one that no profile may set, as `field: why`. */
export function danglingReference(profile: Profile): string | undefined {
  const { ports, secrets = [], project, environment = {} } = profile;
  const placeholders = placeholdersOf(secrets);
  const known = (variable: string) =>
    portValue(ports, variable) ??
      (/^placeholder\./.test(variable) ? undefined : secretValue(variable, placeholders, {}));
  for (
    const [field, variables = {}] of [["environment", environment], [
      "project.environment",
      project?.environment,
    ]] as const
  ) {
    const name = Object.keys(variables).find(isNotSet);
    if (name !== undefined) return `${field}.${name}: with it a program runs other code: remove it`;
  }
  const answers = new Set(project?.answer.map((field) => `answer.${field}`));
  if (project && !Object.hasOwn(ports, project.port)) {
    return `project.port: there is no port '${project.port}': name one of ports`;
  }
  for (const [name, text] of Object.entries(project?.headers ?? {})) {
    const why = whyUnfilled(text, known);
    if (why) return `project.headers.${name}: ${why}`;
  }
  for (const [name, text] of Object.entries(project?.body ?? {})) {
    const why = whyUnfilled(text, (variable) => variable === "config.file" ? "" : known(variable));
    if (why) return `project.body.${name}: ${why}`;
  }
  for (const [name, text] of Object.entries(project?.environment ?? {})) {
    const why = whyUnfilled(text, (variable) => answers.has(variable) ? "" : known(variable));
    if (why) return `project.environment.${name}: ${why}`;
  }
  for (const [name, text] of Object.entries(environment)) {
    const why = whyUnfilled(text, known);
    if (why) return `environment.${name}: ${why}`;
  }
  for (const [name, { url = "" }] of Object.entries(ports)) {
    const why = whyUnfilled(url, (variable) => portValue(ports, variable));
    if (why) return `ports.${name}.url: ${why}`;
  }
}

function whyUnfilled(text: string, value: (variable: string) => string | undefined): string | undefined {
  try {
    fill(text, value);
  } catch (error) {
    return messageOf(error);
  }
}
