/** Who built a file with GitHub Actions, and who should have. */

/** Why an attestation does not show that a file was built as is wanted. */
export class Unproven extends Error {}

/** Who built a file. */
export interface Provenance {
  /** The repository that it was built from: `owner/name`. */
  repository: string;
  /** The branch or tag of it: `refs/heads/main`. */
  ref: string;
  /** The commit. */
  commit: string;
  /** The workflow, with its own version: `owner/name/.github/workflows/image.yml@refs/heads/main`. */
  workflow: string;
  /** The address of the run. */
  run: string;
  /** Who confirmed all of this to the certificate authority. */
  issuer: string;
}

/** Who should have built it. */
export interface Wanted {
  repository: string;
  /** What the whole ref must match, and how messages show it. */
  ref: { pattern: RegExp; shown: string };
  /** Without a version, it is one of the repository's own, and has the same ref. */
  workflow: string;
  issuer: string;
}

/** The repository that has a workflow. */
export function repositoryOf(workflow: string): string {
  return workflow.split("/", 2).join("/");
}

/** How the two differ, in words; `undefined` if they do not. */
export function difference(found: Provenance, wanted: Wanted): string | undefined {
  const { repository, ref, workflow, issuer } = found;
  const isOwn = !wanted.workflow.includes("@");
  const own = (version: string) => isOwn ? `${wanted.workflow}@${version}` : wanted.workflow;
  const differs = (what: string, is: string, wants: string) => `${what} ${is || "nobody"}, and not ${wants}`;
  if (issuer !== wanted.issuer) return differs("its builder's name is confirmed by", issuer, wanted.issuer);
  if (workflow !== own(ref)) return differs("it was built by", workflow, own(wanted.ref.shown));
  if (repository !== wanted.repository) return differs("it was built from", repository, wanted.repository);
  if (!wanted.ref.pattern.test(ref)) return differs("it was built from", ref, wanted.ref.shown);
  return undefined;
}
