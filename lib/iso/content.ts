/** Reading what goes into an image, and telling when it is not what it was said to be. */

import { type Source, StreamReader } from "../base/io.ts";
import { quoted } from "../base/printable.ts";
import { type IsoContent, IsoError } from "./entry.ts";
import { type FileNode, pathOf } from "./tree.ts";

/** A file's bytes, in order, into the reader's buffers. */
export interface ContentReader extends Source {
  /** True when the last read has shown that there is no more. */
  isAtEnd?: boolean;
  close(): Promise<void> | void;
}

/**
 * Small files are read without giving way to other work: a call costs some microseconds, a round through the event loop
 * three times that, and there may be tens of thousands.
 */
const SMALL = 128 * 1024;

/** What is known of a content's size without asking anybody. */
export function knownSize(content: IsoContent): number | undefined {
  return content instanceof Uint8Array ? content.length : content.size;
}

/** Opens a file's content. Errors name the entry; aborting `signal` ends also the waiting for a stream. */
export async function openContent(node: FileNode, signal?: AbortSignal): Promise<ContentReader> {
  const { content } = node;
  if (content instanceof Uint8Array) return new BytesReader(content);
  if ("stream" in content) {
    const { stream } = content;
    const opened = typeof stream === "function" ? stream() : stream;
    return new StreamReader(signal ? opened.pipeThrough(new TransformStream(), { signal }) : opened);
  }
  try {
    if (node.size > SMALL) return new FileReader(await Deno.open(content.path));
    return new SmallFileReader(Deno.openSync(content.path));
  } catch (error) {
    throw cannotRead(pathOf(node), error);
  }
}

/** What to throw when the content of the entry at `path` cannot be read. */
export function cannotRead(path: string, error: unknown): unknown {
  if (error instanceof Deno.errors.NotFound) {
    return new IsoError(`${quoted(path)}: its file no longer exists: put it back, or leave the entry out`);
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return new IsoError(
      `${quoted(path)}: its file may not be read: give this user the right to, or leave the entry out`,
    );
  }
  return error;
}

class BytesReader implements ContentReader {
  #left: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.#left = bytes;
  }
  read(into: Uint8Array): number | null {
    if (this.#left.length === 0) return null;
    const part = this.#left.subarray(0, into.length);
    into.set(part);
    this.#left = this.#left.subarray(part.length);
    return part.length;
  }
  close() {}
}

class FileReader implements ContentReader {
  #file: Deno.FsFile;
  constructor(file: Deno.FsFile) {
    this.#file = file;
  }
  read(into: Uint8Array): Promise<number | null> {
    return this.#file.read(into);
  }
  close() {
    this.#file.close();
  }
}

class SmallFileReader implements ContentReader {
  isAtEnd = false;
  #file: Deno.FsFile;
  constructor(file: Deno.FsFile) {
    this.#file = file;
  }
  read(into: Uint8Array): number | null {
    const got = this.#file.readSync(into);
    this.isAtEnd = got === null || got < into.length;
    return got;
  }
  close() {
    this.#file.close();
  }
}
