/** What some tests need and not every machine has. A test that is skipped says so: in a line, and as ignored. */

import { assertEquals } from "@std/assert";

/** A test; where something is lacking, which is to end the sentence "skipped, because …", it is ignored. */
export function testUnless(lack: string | undefined, name: string, fn: Deno.TestDefinition["fn"]): void {
  if (lack !== undefined) console.log(`skipped: ${name}, because ${lack}`);
  Deno.test({ name, ignore: lack !== undefined, fn });
}

/** What is lacking for {@linkcode smallDisk}. */
export async function lackOfSmallDisks(): Promise<string | undefined> {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-test-" });
  try {
    await using _disk = await smallDisk(`${directory}/disk`, 1);
  } catch {
    return "this user may not mount a file system, which takes Linux and root";
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** A file system with room for so many MiB, mounted in a new directory. */
export async function smallDisk(path: string, mebibytes: number): Promise<AsyncDisposable> {
  await Deno.mkdir(path);
  await run("mount", "-t", "tmpfs", "-o", `size=${mebibytes}m`, "none", path);
  return { [Symbol.asyncDispose]: () => run("umount", path) };
}

async function run(program: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(program, { args }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}
