/** What `hotboot doctor` finds. */

import { HostError, messageOf } from "../base/error.ts";

/**
 * How a finding counts. `fail`: a start would fail. `warn`: a start works, but something is worse than it could be, or will fail
 * later. `info`: good to know. `ok`: as it should be.
 */
export type Mark = "ok" | "info" | "warn" | "fail";

/** One finding. */
export interface Finding {
  /** What was looked at, for programs: `qemu`, `accelerator.kvm`, `port.backend`, `snapshot.20261124T124302Z-7b37`. */
  id: string;
  /** How it counts. */
  mark: Mark;
  /** What was looked at, for people. */
  title: string;
  /** What was found. */
  reason: string;
  /** What to do about it. */
  fix?: string;
  /** `--fix` has done something about it, as `reason` says. */
  fixed?: true;
}

/** The finding of work that fails where a start would fail too. @throws The error itself, if it is a defect of hotboot's. */
export function failed(id: string, title: string, error: unknown): Finding {
  if (error instanceof Deno.errors.NotCapable || error instanceof TypeError) throw error;
  return error instanceof HostError
    ? { id, mark: "fail", title, reason: error.what, fix: error.todo }
    : { id, mark: "fail", title, reason: messageOf(error) };
}
