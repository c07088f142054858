/** Failures that may not happen again. */

import { HotbootError } from "../base/error.ts";

/** A failure that may not happen again. */
export class TransientError extends HotbootError {
  /** How long the server asks to wait, in milliseconds. */
  readonly afterMs?: number;

  constructor(message: string, afterMs?: number) {
    super(message);
    this.afterMs = afterMs;
  }
}

/** There is no way through a proxy. If there never was one, it is a matter of settings. */
export class ProxyError extends TransientError {}
