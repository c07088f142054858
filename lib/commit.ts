/** The commit that a binary was built from; empty in a checkout. `dev/build.ts` puts it in. */
export const COMMIT = "";
