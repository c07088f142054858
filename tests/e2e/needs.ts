/** What some tests need and not every machine has. A skipped test prints a line and counts as ignored. */

import { tool } from "./tool.ts";

/** A test that is ignored if something is missing. `lack` completes the sentence "skipped, because …". */
export function testUnless(lack: string | undefined, name: string, fn: Deno.TestDefinition["fn"]): void {
  if (lack !== undefined) console.log(`skipped: ${name}, because ${lack}`);
  Deno.test({ name, ignore: lack !== undefined, fn });
}

/** What {@linkcode smallDisk} lacks on this machine. */
export async function lackOfSmallDisks(): Promise<string | undefined> {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-test-" });
  try {
    await using _disk = await smallDisk(`${directory}/disk`, 1);
  } catch {
    return "this user may not mount a file system, which needs Linux and root";
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Mounts a file system with room for so many MiB in a new directory. */
export async function smallDisk(path: string, mebibytes: number): Promise<AsyncDisposable> {
  await Deno.mkdir(path);
  await tool("mount", "-t", "tmpfs", "-o", `size=${mebibytes}m`, "none", path);
  return { [Symbol.asyncDispose]: async () => void await tool("umount", path) };
}
