/** The names that the ISO 9660 and the Joliet view have for an entry. */

import { quoted } from "../base/printable.ts";
import { type DirectoryNode, type Node, pathOf } from "./tree.ts";

/**
 * ECMA-119 7.5.1 allows 30 characters for a file's name and extension; 7.6.3 31 for a directory, of which one is left
 * out, so that a path of eight levels has at most 255 (6.8.2.1).
 */
const LONGEST_ISO = 30;
const LONGEST_EXTENSION = 8;
/** Joliet specification: 128 bytes of UCS-2. */
const LONGEST_JOLIET = 64;

/** Each child's identifier, legal by ECMA-119 7.4.1 and 7.5 and the only one of its kind in the directory. */
export function isoIdentifiers({ children }: DirectoryNode): Map<Node, string> {
  const unique = new Unique();
  return new Map<Node, string>(children.map((child): [Node, string] => {
    if (child.kind === "directory") return [child, unique.pick(legal(child.name), "", LONGEST_ISO)];
    const dot = child.name.lastIndexOf(".");
    const hasExtension = dot > 0; // .profile is a name, not an extension
    const extension = hasExtension ? legal(child.name.slice(dot + 1)).slice(0, LONGEST_EXTENSION) : "";
    const stem = legal(hasExtension ? child.name.slice(0, dot) : child.name);
    return [child, `${unique.pick(stem, `.${extension}`, LONGEST_ISO + 1)};1`];
  }));
}

/** Each child's Joliet name; `onWarning` is told of those that are not their own, or not for Windows. Symlinks have none. */
export function jolietNames({ children }: DirectoryNode, onWarning: (message: string) => void): Map<Node, string> {
  const unique = new Unique();
  const names = new Map<Node, string>();
  const onChange = (node: Node, name: string) =>
    onWarning(`${quoted(pathOf(node))}: Joliet cannot store this name and has '${quoted(name)}' instead`);
  // Names that fit keep their own; the others find a place among them.
  const fits = (node: Node) => node.name.length <= LONGEST_JOLIET && !ILLEGAL_IN_JOLIET.test(node.name);
  const withoutLinks = children.filter((child) => child.kind !== "symlink");
  for (const child of withoutLinks.filter(fits)) {
    const name = unique.pick(child.name, "", LONGEST_JOLIET);
    names.set(child, name);
    if (name !== child.name) onChange(child, name);
  }
  for (const child of withoutLinks.filter((child) => !fits(child))) {
    const clean = child.name.replace(new RegExp(ILLEGAL_IN_JOLIET, "gu"), "_");
    const dot = clean.lastIndexOf(".");
    const extension = dot > 0 && clean.length - dot <= 16 ? clean.slice(dot) : "";
    const name = unique.pick(clean.slice(0, clean.length - extension.length), extension, LONGEST_JOLIET);
    names.set(child, name);
    onChange(child, name);
  }
  for (const [node, name] of names) {
    const why = unfitForWindows(name);
    if (why) {
      onWarning(`${quoted(pathOf(node))}: Windows cannot have this name: ${why}. Rename it if Windows has to read it`);
    }
  }
  return names;
}

// deno-lint-ignore no-control-regex -- Joliet specification, "Allowed character set"; UCS-2 ends at U+FFFF
const ILLEGAL_IN_JOLIET = /[\x00-\x1f*/:;?\\\u{10000}-\u{10ffff}]/u;

/**
 * Why Windows opens no file of this Joliet name, if so.
 *
 * Source: Microsoft, "Naming Files, Paths, and Namespaces"; what Joliet forbids is not in the name any more.
 */
function unfitForWindows(name: string): string | undefined {
  const character = name.match(/[<>|"]/)?.[0];
  if (character) return `it contains ${character}`;
  if (/[. ]$/.test(name)) return `it ends with a ${name.endsWith(".") ? "dot" : "space"}`;
  const device = name.match(/^(con|prn|aux|nul|(?:com|lpt)[0-9¹²³]) *(?:\.|$)/i)?.[1];
  return device && `${device} is a device there`;
}

/** Nothing but d-characters, one for each character. */
function legal(name: string): string {
  return name.toUpperCase().replaceAll(/[^A-Z0-9_]/gu, "_");
}

/** Names that are told apart without regard to case; a name that is taken gets a number. */
class Unique {
  #taken = new Set<string>();
  /** The number last given for a stem, so that many like names take no longer than few. */
  #last = new Map<string, number>();

  /** `stem` and `ending`, of at most `longest` characters together. */
  pick(stem: string, ending: string, longest: number): string {
    const room = longest - ending.length;
    let name = stem.slice(0, room) + ending;
    while (this.#taken.has(keyOf(name))) {
      const key = `${stem.slice(0, room - 6)}/${ending}`.toLowerCase();
      const number = (this.#last.get(key) ?? -1) + 1;
      this.#last.set(key, number);
      const digits = String(number).padStart(3, "0");
      name = stem.slice(0, room - digits.length) + digits + ending;
    }
    this.#taken.add(keyOf(name));
    return name;
  }
}

/** Names with the same key are the same to a reader: it may take the dots at the end away, as Linux does. */
function keyOf(name: string): string {
  return name.toLowerCase().replace(/\.+$/, "");
}
