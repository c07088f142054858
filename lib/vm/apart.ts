/** How QEMU is run. */

/**
 * QEMU gets nothing of this program's: not its environment, which can hold tokens that a guest may find by a share; not its
 * directory; and not its terminal, so that Ctrl-C here does not reach it.
 */
export const APART = { clearEnv: true, cwd: "/", detached: true } as const;
