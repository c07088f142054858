/** What to download, and how. */

import { HotbootError } from "../base/error.ts";
import type { HttpRequest, RetryOptions } from "./http.ts";

/** What to download, and what it must be. */
export interface Download {
  /** The request; repeated for each connection, because an address that it redirects to may expire. */
  request: HttpRequest;
  /** Its name in messages. */
  name: string;
  /** Its size in bytes, if known beforehand. */
  size?: number;
  /** Its SHA-256 in hex, if known beforehand. */
  sha256?: string;
  /** Identifies this version, if no digest does. */
  version?: string;
  /** Explains a refusal by the request's own host, such as a 404. */
  explain?: (response: Response) => Promise<Error>;
}

/** How to download. */
export interface DownloadOptions {
  /** Aborts the download; the next one continues with what has come. */
  signal?: AbortSignal;
  /** Called now and then with how many bytes have come; the total is NaN while it is unknown. */
  onProgress?: (done: number, total: number) => void;
  /** Called with what went wrong and is being retried. */
  onTrouble?: (message: string) => void;
  /** The most connections to open; 4 by default. */
  connections?: number;
  /** How long a connection may be silent, in milliseconds; 30 s by default. */
  stallMs?: number;
  /** How many attempts in a row may fail, and the pauses between them. */
  retry?: RetryOptions;
}

/** The content is not what was wanted; another attempt from the start may do better. */
export class WrongContent extends HotbootError {}
