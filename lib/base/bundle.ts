/** What is elsewhere, or another, in the one file that `dev/bundle.ts` makes of the program. */

/** The commit that it was made from; empty in a checkout. */
export const COMMIT = "";
/** The module of the threads that compress and decompress. */
export const ZSTD_WORKER = new URL("../zstd/worker.ts", import.meta.url);
/** What those threads load: they need to read it. */
export const CODE = new URL("../", import.meta.url);
/** Where the profiles that are built in have their recipes. */
export const GUESTS = new URL("../../qemu/", import.meta.url);
