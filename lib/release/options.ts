/** What to download, and how. */

import { HotbootError } from "../base/error.ts";
import type { HttpRequest, RetryOptions } from "./http.ts";

/** What to download, and what it must be. */
export interface Download {
  /** Where it is; asked anew for each connection, so that an address that it redirects to may expire. */
  request: HttpRequest;
  /** What it is called in messages. */
  name: string;
  /** Its size in bytes, where it is known beforehand. */
  size?: number;
  /** Its SHA-256 in hex, where it is known beforehand. */
  sha256?: string;
  /** What tells this version from others, where no digest does. */
  version?: string;
  /** What a refusal by the request's own host means, such as a 404. */
  explain?: (response: Response) => Promise<Error>;
}

/** How to download. */
export interface DownloadOptions {
  /** Aborting it ends the download; what has come is kept for the next one. */
  signal?: AbortSignal;
  /** Told now and then how many bytes there are; the total is NaN while it is unknown. */
  onProgress?: (done: number, total: number) => void;
  /** Told of what went wrong and is tried again. */
  onTrouble?: (message: string) => void;
  /** How many connections there may be; 4 unless told. */
  connections?: number;
  /** How long a connection may be silent, in milliseconds; 30 s unless told. */
  stallMs?: number;
  /** How often in a row an attempt may bring next to nothing, and the pauses between. */
  retry?: RetryOptions;
}

/** What came is not what was wanted; another attempt from the start may do better. */
export class WrongContent extends HotbootError {}
