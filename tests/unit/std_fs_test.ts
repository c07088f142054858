/**
 * What hotboot relies on in `@std/fs`, in either version: JSR's, or `dev/std_fs.ts` where JSR cannot be
 * reached.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { copy } from "@std/fs/copy";
import { ensureDir } from "@std/fs/ensure-dir";
import { exists } from "@std/fs/exists";
import { move } from "@std/fs/move";
import { walk } from "@std/fs/walk";
import { withDirectory } from "./temporary.ts";

const { AlreadyExists, NotADirectory, NotFound, NotSupported } = Deno.errors;

/** A directory with a program, a directory with the user's file, an empty directory, and three links. */
async function makeTree(root: string): Promise<void> {
  await ensureDir(`${root}/sub/deep`);
  await Deno.mkdir(`${root}/none`);
  await Deno.writeTextFile(`${root}/program`, "#!/bin/sh\n");
  await Deno.chmod(`${root}/program`, 0o755);
  await Deno.writeTextFile(`${root}/sub/deep/secret`, "secret", { mode: 0o600 });
  for (const [link, target] of [["file", "program"], ["directory", "sub"], ["dangling", "nowhere"]]) {
    await Deno.symlink(target, `${root}/to-${link}`);
  }
}

/** What is below a directory, as the walk finds it: directories with a slash, links with an arrow. */
async function found(root: string, options?: { includeDirs: boolean }): Promise<string[]> {
  const lines: string[] = [];
  for await (const { path, name, isFile, isDirectory, isSymlink } of walk(root, options)) {
    assert(path.endsWith(name));
    assertEquals(Number(isFile) + Number(isDirectory) + Number(isSymlink), 1, path);
    lines.push(path + (isDirectory ? "/" : isSymlink ? ` -> ${await Deno.readLink(path)}` : ""));
  }
  return lines;
}

const LINKS = ["to-dangling -> nowhere", "to-directory -> sub", "to-file -> program"];
const FILES = ["program", "sub/deep/secret", ...LINKS];

Deno.test("std/fs: walk finds everything below, and follows no link", () =>
  withDirectory(async (directory) => {
    const root = `${directory}/tree`;
    await makeTree(root);
    const below = (names: string[]) => names.map((name) => `${root}/${name}`).sort();
    const all = await found(root);
    assertEquals(all[0], `${root}/`);
    assert(all.indexOf(`${root}/sub/`) < all.indexOf(`${root}/sub/deep/`));
    assert(all.indexOf(`${root}/sub/deep/`) < all.indexOf(`${root}/sub/deep/secret`));
    assertEquals(all.sort(), below(["", "none/", "sub/", "sub/deep/", ...FILES]));
    assertEquals((await found(root, { includeDirs: false })).sort(), below(FILES));
    assertEquals(await found(`${root}/sub/.//deep/`, { includeDirs: false }), below(["sub/deep/secret"]));
    await assertRejects(() => found(`${root}/missing`), NotFound);
    await assertRejects(() => found(`${root}/missing`, { includeDirs: false }), NotFound);
    await assertRejects(() => found(`${root}/program`, { includeDirs: false }), NotADirectory);
  }));

Deno.test("std/fs: exists follows links, and hides no error", () =>
  withDirectory(async (root) => {
    await makeTree(root);
    for (const name of ["program", "sub", "to-file", "to-directory"]) assert(await exists(`${root}/${name}`), name);
    for (const name of ["program", "to-file"]) assert(await exists(`${root}/${name}`, { isFile: true }), name);
    for (const name of ["missing", "missing/below", "to-dangling"]) assert(!await exists(`${root}/${name}`), name);
    for (const name of ["missing", "sub", "to-directory", "to-dangling"]) {
      assert(!await exists(`${root}/${name}`, { isFile: true }), name);
    }
    await assertRejects(() => exists(`${root}/program/below`), NotADirectory);
  }));

Deno.test("std/fs: ensureDir makes what is missing, leaves what is there, and refuses other files", () =>
  withDirectory(async (root) => {
    await makeTree(root);
    await ensureDir(`${root}/a/b/c`);
    assert((await Deno.lstat(`${root}/a/b/c`)).isDirectory);
    await Deno.chmod(`${root}/a/b`, 0o700);
    for (const name of ["a", "a/b", "a/b/c", "to-directory"]) await ensureDir(`${root}/${name}`);
    assertEquals((await Deno.stat(`${root}/a/b`)).mode! & 0o777, 0o700);
    assert((await Deno.lstat(`${root}/to-directory`)).isSymlink);
    await Promise.all(Array.from({ length: 8 }, () => ensureDir(`${root}/at/once`)));
    for (const name of ["program", "to-file"]) await assertRejects(() => ensureDir(`${root}/${name}`), Error);
    await assertRejects(() => ensureDir(`${root}/program/below`), NotADirectory);
  }));

Deno.test("std/fs: move renames without replacing anything", () =>
  withDirectory(async (root) => {
    await makeTree(root);
    await move(`${root}/sub`, `${root}/moved`);
    assertEquals(await Deno.readTextFile(`${root}/moved/deep/secret`), "secret");
    assert(!await exists(`${root}/sub`));
    await move(`${root}/program`, `${root}/moved/program`);
    assertEquals((await Deno.stat(`${root}/moved/program`)).mode! & 0o777, 0o755);
    for (const there of ["none", "to-dangling", "moved/program"]) { // rename(2) replaces an empty directory
      await assertRejects(() => move(`${root}/moved/deep`, `${root}/${there}`), AlreadyExists);
    }
    await assertRejects(() => move(`${root}/moved`, `${root}/moved/deep/er`), NotSupported);
    await assertRejects(() => move(`${root}/missing`, `${root}/new`), NotFound);
    assert(await exists(`${root}/moved/deep/secret`));
  }));

Deno.test("std/fs: copy keeps contents, file modes and links, and replaces only when told to", () =>
  withDirectory(async (directory) => {
    const [root, to] = [`${directory}/tree`, `${directory}/made/here`];
    await makeTree(root);
    await copy(root, to);
    const relative = async (tree: string) => (await found(tree)).map((line) => line.slice(tree.length)).sort();
    assertEquals(await relative(to), await relative(root));
    assertEquals(await Deno.readTextFile(`${to}/sub/deep/secret`), "secret");
    for (const [name, mode] of [["program", 0o755], ["sub/deep/secret", 0o600]] as const) {
      assertEquals((await Deno.stat(`${to}/${name}`)).mode! & 0o777, mode, name);
    }
    await copy(`${root}/program`, `${to}/another`);
    assertEquals((await Deno.stat(`${to}/another`)).mode! & 0o777, 0o755);

    await Deno.writeTextFile(`${to}/sub/deep/secret`, "changed");
    for (const from of ["sub", "program", "to-file"]) {
      await assertRejects(() => copy(`${root}/${from}`, `${to}/${from}`), AlreadyExists);
    }
    await copy(`${root}/sub`, `${to}/sub`, { overwrite: true });
    assertEquals(await Deno.readTextFile(`${to}/sub/deep/secret`), "secret");
    assert(await exists(`${to}/another`));
    await assertRejects(() => copy(`${root}/sub`, `${to}/program`, { overwrite: true }), Error);
    await assertRejects(() => copy(root, `${root}/sub/deep/er`), Error);
    await assertRejects(() => copy(root, root), Error);
    await assertRejects(() => copy(`${root}/missing`, `${to}/new`), NotFound);
  }));
