/** Constants that differ in the single-file program that `dev/bundle.ts` makes. */

/** The commit that the program was made from; empty in a checkout. */
export const COMMIT = "";
/** The module of the threads that compress and decompress. */
export const ZSTD_WORKER = new URL("../zstd/worker.ts", import.meta.url);
/** The directory of the modules that those threads load, and must be allowed to read. */
export const CODE = new URL("../", import.meta.url);
/** The directory of the built-in profiles' recipes. */
export const GUESTS = new URL("../../qemu/", import.meta.url);
