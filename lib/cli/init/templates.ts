/** The templates of `init`, and what they need to know. */

import type { Draft, Wishes } from "./template.ts";

/** A template. */
export interface Template {
  /** What it is for, in a few words. */
  summary: string;
  /** Makes the files. */
  draft(wishes: Wishes): Promise<Draft>;
}

/** By name. Each is loaded when it is used. */
export const TEMPLATES: Record<string, Template> = {
  postgres: {
    summary: "PostgreSQL and one service, installed by a script (on Debian and Ubuntu)",
    draft: async (wishes) => (await import("./postgres.ts")).postgres(wishes),
  },
  compose: {
    summary: "docker compose in the guest: this directory's compose.yaml, or an example",
    draft: async (wishes) => (await import("./compose.ts")).compose(wishes),
  },
  release: {
    summary: "an image that a GitHub repository publishes (--repo)",
    draft: async (wishes) => (await import("./release.ts")).release(wishes),
  },
};
