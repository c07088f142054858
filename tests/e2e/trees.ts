/** Random trees of files, and a description of a tree on disk as comparable text. */

import { encodeHex } from "@std/encoding/hex";
import { ensureDir } from "@std/fs/ensure-dir";
import { walk } from "@std/fs/walk";
import { random } from "../unit/random.ts";

/** What a random tree may contain. */
export interface TreeOptions {
  seed: number;
  /** How many files, directories and links. */
  count: number;
  /** Levels of directories below the root. */
  depth: number;
  /** The largest file's size. Sizes are spread over all magnitudes up to it. */
  largest: number;
}

const LETTERS = [
  "abcdefghijklmnopqrstuvwxyz",
  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,+ @#%&()=~'",
  "äöüßéñçøåœ",
  "ひらがな日本語漢字",
  "ЖИклмн",
];

/** Makes a tree below `root`: Unicode and 200-character names, empty files and directories, links, old and new times. */
export async function makeTree(root: string, { seed, count, depth, largest }: TreeOptions): Promise<void> {
  const next = random(seed);
  const pick = <T>(list: ArrayLike<T>) => list[Math.floor(next() * list.length)];
  const directories = [{ path: root, level: 0 }];
  const used = new Set<string>();
  const name = () => {
    while (true) {
      const length = next() < 0.05 ? 200 : 1 + Math.floor(next() * 24);
      const alphabet = next() < 0.7 ? LETTERS[0] : LETTERS.join("");
      let text = "";
      while (new TextEncoder().encode(text).length < length) text += pick(Array.from(alphabet));
      text = text.trim();
      if (text !== "" && text !== "." && text !== ".." && new TextEncoder().encode(text).length <= 200) return text;
    }
  };
  const times: [string, number][] = [];
  await ensureDir(root);
  for (let made = 0; made < count;) {
    const parent = pick(directories);
    const path = `${parent.path}/${name()}`;
    const key = path.toLowerCase();
    if (used.has(key)) continue;
    used.add(key);
    made++;
    const kind = next();
    if (kind < 0.2 && parent.level < depth) {
      await Deno.mkdir(path);
      directories.push({ path, level: parent.level + 1 });
    } else if (kind < 0.27) {
      await Deno.symlink(
        pick(["nowhere", "../up/and/down", "/absolute/path", `${"deep/".repeat(40)}end`, "ziel größer"]),
        path,
      );
      continue;
    } else {
      const size = next() < 0.1 ? 0 : Math.floor(largest ** next());
      const bytes = new Uint8Array(size);
      for (let at = 0; at < size; at += 64) bytes[at] = Math.floor(next() * 256);
      if (size > 0) bytes[size - 1] = 1;
      await Deno.writeFile(path, bytes);
      await Deno.chmod(path, pick([0o644, 0o600, 0o755, 0o400, 0o666]));
    }
    times.push([path, 946_684_800 + Math.floor(next() * 800_000_000)]);
  }
  for (const [path, time] of times.reverse()) await Deno.utime(path, time, time);
}

/** What to compare. */
export interface DescribeOptions {
  modes?: boolean;
  times?: boolean;
  links?: boolean;
}

/** A line for each entry of a tree, sorted. */
export async function describeTree(root: string, options: DescribeOptions = {}): Promise<string[]> {
  const { modes = true, times = true, links = true } = options;
  const lines: string[] = [];
  for await (const { path } of walk(root)) {
    if (path === root) continue;
    const inner = path.slice(root.length + 1);
    const info = await Deno.lstat(path);
    const mode = modes ? ` ${(info.mode! & 0o7777).toString(8)}` : "";
    const time = times ? ` ${Math.floor(info.mtime!.getTime() / 1000)}` : "";
    if (info.isSymlink) {
      if (links) lines.push(`${inner} -> ${await Deno.readLink(path)}`);
    } else if (info.isDirectory) {
      lines.push(`${inner}/${mode}`);
    } else {
      const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(path));
      lines.push(`${inner} ${info.size} ${encodeHex(new Uint8Array(digest))}${mode}${time}`);
    }
  }
  return lines.sort();
}
