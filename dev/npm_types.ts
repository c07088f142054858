/**
 * The types of what the commands print, for the package on npm, made of their schemas in docs/json:
 *
 *     deno run -A dev/npm_types.ts
 */

import { compile, type JSONSchema } from "json-schema-to-typescript";
import { ROOT } from "./deno.ts";

/** The file. */
export const TYPES = `${ROOT}npm/results.ts`;

/** The types' names, and the schemas that they are made of. */
const RESULTS: Record<string, string> = {
  StartResult: "start",
  RestartResult: "restart",
  RunResult: "run",
  ForkResult: "fork",
  StopResult: "stop",
  ResetResult: "reset",
  Status: "status",
  Secrets: "credentials",
  CaptureResult: "capture",
  CheckpointResult: "snapshot-save",
  ExecAnswer: "exec",
  Shown: "profile-show",
  Failure: "error",
};

/** The types. */
export async function resultTypes(): Promise<string> {
  const { $defs } = await schemaOf("common");
  const definitions = { ...$defs };
  for (const [name, command] of Object.entries(RESULTS)) {
    const { $schema: _, $id: __, title, oneOf, ...schema } = await schemaOf(command);
    // What `stop` prints with --all, which the client does not use, is the second.
    definitions[name] = { ...schema, ...oneOf?.[0], description: `What \`${title}\` prints.` };
  }
  const options = {
    bannerComment: "// Made of docs/json by dev/npm_types.ts.\n",
    unreachableDefinitions: true,
    style: { printWidth: 120 },
  };
  const types = await compile({ $defs: definitions, title: "Results", type: "object" }, "Results", options);
  return types
    .replaceAll(/^( *\*)\n^ *\* This interface was referenced by .*\n.*\n/gm, "")
    .replaceAll(/^\/\*\*\n \* This interface was referenced by .*\n.*\n \*\/\n/gm, "")
    .replaceAll(/^export interface Results \{[^}]*\}\n/gm, "");
}

async function schemaOf(name: string): Promise<JSONSchema> {
  const text = await Deno.readTextFile(`${ROOT}docs/json/${name}.schema.json`);
  return JSON.parse(text.replaceAll("common.schema.json#", "#"));
}

if (import.meta.main) {
  await Deno.writeTextFile(TYPES, await resultTypes());
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "-q", TYPES] }).spawn().status;
}
