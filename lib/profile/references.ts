/** Checks a profile's references, which its schema cannot check. */

import { messageOf } from "../base/error.ts";
import { fill } from "../base/fill.ts";
import { isNotSet } from "./closed_variables.ts";
import { type Mistake, mistake, pointer } from "./fields.ts";
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

/** What is wrong in the project request's own texts and the environment: unknown variables, and those that no profile may set. */
export function* danglingReferences(profile: Profile): Generator<Mistake> {
  const { ports, secrets = [], project, environment = {} } = profile;
  const placeholders = placeholdersOf(secrets);
  const known = (variable: string) =>
    portValue(ports, variable) ??
      (/^placeholder\./.test(variable) ? undefined : secretValue(variable, placeholders, {}));
  const answers = new Set(project?.answer.map((field) => `answer.${field}`));
  const answer = (variable: string) => answers.has(variable) ? "" : known(variable);
  const body = (variable: string) => variable === "config.file" ? "" : known(variable);
  for (const at of ["#/environment", "#/project/environment"]) {
    const variables = at === "#/environment" ? environment : project?.environment ?? {};
    for (const name of Object.keys(variables).filter(isNotSet)) {
      yield mistake(pointer(at, name), "with it a program runs other code: remove it");
    }
  }
  if (project && !Object.hasOwn(ports, project.port)) {
    yield mistake("#/project/port", `there is no port '${project.port}': name one of ports`);
  }
  yield* unfilled("#/project/headers", project?.headers, known);
  yield* unfilled("#/project/body", project?.body, body);
  yield* unfilled("#/project/environment", project?.environment, answer);
  yield* unfilled("#/environment", environment, known);
  for (const [name, { url = "" }] of Object.entries(ports)) {
    yield* unfilled(`#/ports/${name}`, { url }, (variable) => portValue(ports, variable));
  }
}

function* unfilled(
  at: string,
  texts: Record<string, string> = {},
  value: (variable: string) => string | undefined,
): Generator<Mistake> {
  for (const [name, text] of Object.entries(texts)) {
    try {
      fill(text, value);
    } catch (error) {
      yield mistake(pointer(at, name), messageOf(error));
    }
  }
}
