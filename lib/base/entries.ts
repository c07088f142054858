/** What is in a directory. */

/** Its entries, by their names; none if there is no such directory. */
export async function entriesIn(path: string): Promise<Deno.DirEntry[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(path));
    return entries.sort((one, other) => one.name < other.name ? -1 : 1);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** What nobody has changed for so long was left by a killed command. */
const ABANDONED_MS = 3_600_000;

/** Whether nobody has changed it for an hour. What seems to be of the future was made before the host's clock was set back. */
export async function isAbandoned(path: string): Promise<boolean> {
  const stat = await Deno.lstat(path).catch(() => undefined);
  return stat !== undefined && Math.abs(Date.now() - (stat.mtime?.getTime() ?? Date.now())) > ABANDONED_MS;
}
