/** Attestations as files have them. */

import { HotbootError } from "../base/error.ts";

/** The ending of a file with the attestations of the file beside it. */
export const BUNDLE_ENDING = ".sigstore.json";
/** The most bytes that bundles are read of: one has some 12 KB. */
export const LONGEST_BUNDLES = 4 * 2 ** 20;

/** Reads one JSON value, or one on each line, as `gh attestation` writes them. @throws {HotbootError} if it is neither. */
export function parseJsonLines(text: string, what: string): unknown[] {
  const parse = (part: string): unknown => {
    try {
      return JSON.parse(part);
    } catch {
      return undefined;
    }
  };
  const whole = parse(text);
  if (whole !== undefined) return [whole];
  const lines = text.split("\n").filter((line) => line.trim() !== "").map(parse);
  if (lines.length > 0 && !lines.includes(undefined)) return lines;
  throw new HotbootError(`${what} is not JSON, nor JSON on each line: get it again, or remove it`);
}
