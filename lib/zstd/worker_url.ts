/** Where the module of the threads is. */

export const WORKER_URL = new URL("./worker.ts", import.meta.url);
