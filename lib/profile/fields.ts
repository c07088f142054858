/** Fills the environment's variables into a profile's fields. */

import { HotbootError, messageOf } from "../base/error.ts";
import { fillVariables, type ReadVariable, type Variable } from "./variables.ts";

/** The part of JSON Schema that is used here. */
export interface FieldSchema {
  $ref?: string;
  $defs?: Record<string, FieldSchema>;
  title?: string;
  type?: string | string[];
  minimum?: number;
  maximum?: number;
  properties?: Record<string, FieldSchema>;
  additionalProperties?: FieldSchema | boolean;
  items?: FieldSchema;
}

/** A text after variables were filled in. */
export interface Filled {
  /** The result. */
  text: string;
  /** The variables that were set. */
  variables: Variable[];
  /** The field's schema. */
  schema: FieldSchema;
}

/** The schema of texts that are filled in again later. */
const TEMPLATE = "#/$defs/template";

/**
 * Fills the variables into all texts below `value`, and converts those in a number's place to numbers.
 *
 * @returns The new value and, by JSON pointer, the texts that contained variables.
 * @throws {HotbootError} without the profile's name, if that fails.
 */
export function fillFields(
  value: unknown,
  root: FieldSchema,
  read?: ReadVariable,
): { value: unknown; filled: Map<string, Filled> } {
  const filled = new Map<string, Filled>();
  const visit = (value: unknown, at: string, found: FieldSchema = {}): unknown => {
    const schema = resolve(root, found);
    if (Array.isArray(value)) return value.map((each, index) => visit(each, `${at}/${index}`, schema.items));
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(
        Object.entries(value).map(([name, each]) => [name, visit(each, join(at, name), property(schema, name))]),
      );
    }
    if (typeof value !== "string") return value;
    const result = fillAt(value, at, found.$ref === TEMPLATE, read);
    if (result.variables.length > 0) filled.set(at, { text: result.filled, variables: result.variables, schema });
    if (!isNumeric(schema)) return result.filled;
    // A number must be written as a number, unless it comes from a variable.
    const text = value.includes("${env.") ? result.filled : undefined;
    return numberOf(text, at, filled.get(at), schema, value);
  };
  return { value: visit(value, "#", root), filled };
}

function fillAt(text: string, at: string, isTemplate: boolean, read?: ReadVariable) {
  try {
    return fillVariables(text, isTemplate, read);
  } catch (error) {
    throw new HotbootError(`${pathOf(at)}: ${messageOf(error)}`);
  }
}

function numberOf(
  text: string | undefined,
  at: string,
  filled: Filled | undefined,
  schema: FieldSchema,
  value: string,
): number {
  if (text !== undefined && /^(0|[1-9]\d*)(\.\d+)?$/.test(text)) return Number(text);
  throw new HotbootError(
    filled
      ? complaint(filled, at)
      : `${pathOf(at)}: '${text ?? value}' is not a ${schema.title ?? "number"}: ${useAnother(schema)}`,
  );
}

/**
 * What is wrong with a field that variables were filled into, with their names.
 *
 * @param why The reason; by default that the number is not allowed. A text may be a secret, and is not shown.
 */
export function complaint({ text, variables, schema }: Filled, at: string, why = noSuchNumber(schema, at)): string {
  if (!isNumeric(schema)) return `${pathOf(at)}, with ${variables.map(({ name }) => name).join(" and ")}: ${why}`;
  const values = variables.map(({ name, value }) => `${name} is '${value}'`).join(" and ");
  const makes = text === variables[0].value ? "" : `, which makes ${pathOf(at)} '${text}'`;
  return `${values}${makes}, ${why}`;
}

function noSuchNumber(schema: FieldSchema, at: string): string {
  const { title } = schema;
  return `which ${title ? `is not a ${title}` : `${pathOf(at)} cannot be`}: ${useAnother(schema)}`;
}

function useAnother({ type, minimum, maximum }: FieldSchema): string {
  const kind = [type].flat().includes("integer") ? "an integer" : "a number";
  const range = minimum === undefined
    ? ""
    : maximum === undefined
    ? ` of at least ${minimum}`
    : ` from ${minimum} to ${maximum}`;
  return `use ${kind}${range}`;
}

/** Whether the field is a number. */
export function isNumeric({ type }: FieldSchema): boolean {
  return [type].flat().some((name) => name === "integer" || name === "number");
}

function resolve(root: FieldSchema, { $ref, ...own }: FieldSchema): FieldSchema {
  const [, name] = $ref?.match(/^#\/\$defs\/(.+)$/) ?? [];
  return name === undefined ? own : { ...root.$defs![name], ...own };
}

function property({ properties = {}, additionalProperties }: FieldSchema, name: string): FieldSchema | undefined {
  if (Object.hasOwn(properties, name)) return properties[name];
  return typeof additionalProperties === "object" ? additionalProperties : undefined;
}

/** The names of the fields that the schema knows at a JSON pointer. */
export function knownFields(root: FieldSchema, at: string): string[] {
  const steps = at.split("/").slice(1);
  const found = steps.reduce<FieldSchema>((schema, name) => {
    const inner = resolve(root, schema);
    return inner.items ?? property(inner, name) ?? {};
  }, root);
  return Object.keys(resolve(root, found).properties ?? {});
}

function join(at: string, name: string): string {
  return `${at}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** A JSON pointer in the usual notation: `health[0].path`. */
export function pathOf(pointer: string): string {
  return pointer.slice(2).split("/").filter((part) => part !== "")
    .map((part) => /^\d+$/.test(part) ? `[${part}]` : `.${part.replaceAll("~1", "/").replaceAll("~0", "~")}`)
    .join("").replace(/^\./, "");
}
