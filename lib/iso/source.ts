/** Where an image's bytes come from. */

import { otherThanFile } from "../base/files.ts";
import { readAt } from "../base/io.ts";
import { Turns } from "../base/turns.ts";
import { badImage, IsoError, shown } from "./entry.ts";

/** Bytes that can be read at any place. */
export interface IsoSource {
  /** How many there are. */
  readonly size: number;
  /** Fills `into` with the bytes from `offset` on, all of which are within {@linkcode size}. */
  read(offset: number, into: Uint8Array): Promise<void>;
  /** Ends the use. */
  close(): void;
}

/** An image in memory. */
export function bytesSource(bytes: Uint8Array): IsoSource {
  return {
    size: bytes.length,
    read(offset, into) {
      into.set(bytes.subarray(offset, offset + into.length));
      return Promise.resolve();
    },
    close() {},
  };
}

/** An image in a file. */
export async function fileSource(path: string): Promise<IsoSource> {
  let other: string | undefined;
  try {
    other = await otherThanFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new IsoError(`${path} does not exist: name an image that does`);
    throw error;
  }
  if (other) throw new IsoError(`${path} is ${other}, not an image: name a file`);
  const file = await Deno.open(path);
  const { size } = await file.stat();
  const turns = new Turns(); // the file has one position
  return {
    size,
    read: (offset, into) =>
      turns.run(async () => {
        if (await readAt(file, offset, into) < into.length) {
          throw new IsoError(`${path} became shorter while it was read: try again when it no longer changes`);
        }
      }),
    close: () => file.close(),
  };
}

/** So many bytes of an image, in a buffer of their own. */
export async function readBytes(source: IsoSource, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await source.read(offset, bytes);
  return bytes;
}

/** Fails when the image ends before what `path` has in it. */
export function requireWithin(source: IsoSource, path: string, offset: number, size: number): void {
  if (offset + size <= source.size) return;
  throw badImage(
    `${shown(path)}: it is at bytes ${offset} to ${
      offset + size
    }, and the image has ${source.size}: it is cut off or damaged`,
  );
}
