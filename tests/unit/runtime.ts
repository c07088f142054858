/** Whether this is Deno `major.minor`, or a later one. */
export function isSince(major: number, minor: number): boolean {
  const [ownMajor, ownMinor] = Deno.version.deno.split(".").map(Number);
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}
