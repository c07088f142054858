/** Fills the environment's variables into a profile's fields. */

import { messageOf } from "../base/error.ts";
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
  default?: unknown;
}

/** Something wrong in a profile. */
export interface Mistake {
  /** Where: a JSON pointer such as `#/health/0/path`. */
  at: string;
  /** The field, why it is wrong, and what to do. */
  text: string;
}

/** What is wrong with the field at a JSON pointer. */
export function mistake(at: string, why: string): Mistake {
  return { at, text: `${pathOf(at) || "the whole file"}: ${why}` };
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
 * @returns The new value; by JSON pointer, the texts that contained variables; and the fields that could not be filled, which
 * stay as they are.
 */
export function fillFields(
  value: unknown,
  root: FieldSchema,
  read?: ReadVariable,
): { value: unknown; filled: Map<string, Filled>; mistakes: Mistake[] } {
  const filled = new Map<string, Filled>();
  const mistakes: Mistake[] = [];
  const visit = (value: unknown, at: string, found: FieldSchema = {}): unknown => {
    const schema = resolved(root, found);
    if (Array.isArray(value)) return value.map((each, index) => visit(each, `${at}/${index}`, schema.items));
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(
        Object.entries(value).map(([name, each]) => [name, visit(each, pointer(at, name), property(schema, name))]),
      );
    }
    if (typeof value !== "string") return value;
    try {
      const result = fillVariables(value, found.$ref === TEMPLATE, read);
      if (result.variables.length > 0) filled.set(at, { text: result.filled, variables: result.variables, schema });
      if (!isNumeric(schema)) return result.filled;
      // A number must be written as a number, unless it comes from a variable.
      const number = value.includes("${env.") ? numberOf(result.filled) : undefined;
      if (number !== undefined) return number;
      mistakes.push(noNumber(at, result.filled, schema, filled.get(at)));
    } catch (error) {
      mistakes.push(mistake(at, messageOf(error)));
    }
    return value;
  };
  return { value: visit(value, "#", root), filled, mistakes };
}

function numberOf(text: string): number | undefined {
  return /^(0|[1-9]\d*)(\.\d+)?$/.test(text) ? Number(text) : undefined;
}

function noNumber(at: string, text: string, schema: FieldSchema, filled?: Filled): Mistake {
  if (filled) return { at, text: complaint(filled, at) };
  return mistake(at, `'${text}' is not a ${schema.title ?? "number"}: ${useAnother(schema)}`);
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

/** The schema that a reference leads to. */
export function resolved(root: FieldSchema, { $ref, ...own }: FieldSchema): FieldSchema {
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
    const inner = resolved(root, schema);
    return inner.items ?? property(inner, name) ?? {};
  }, root);
  return Object.keys(resolved(root, found).properties ?? {});
}

/** The value of a keyword of the schema, by a JSON pointer that leads through references. */
export function keywordAt(root: FieldSchema, at: string): unknown {
  const steps = at.split("/").slice(1);
  return steps.reduce<unknown>(
    (found, step) => step === "$ref" ? resolved(root, found as FieldSchema) : (found as Record<string, unknown>)[step],
    root,
  );
}

/** The pointer to a field of the object at `at`. */
export function pointer(at: string, name: string): string {
  return `${at}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** A JSON pointer in the usual notation: `health[0].path`. */
export function pathOf(pointer: string): string {
  return pointer.slice(2).split("/").filter((part) => part !== "")
    .map((part) => /^\d+$/.test(part) ? `[${part}]` : `.${part.replaceAll("~1", "/").replaceAll("~0", "~")}`)
    .join("").replace(/^\./, "");
}
