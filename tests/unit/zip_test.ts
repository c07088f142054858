import { assert, assertEquals, assertRejects } from "@std/assert";
import { unzipOne } from "../../lib/release/zip.ts";
import { WrongContent } from "../../lib/release/options.ts";
import { withDirectory } from "./temporary.ts";

/** Where the file's own header and the central directory's have its uncompressed size (APPNOTE 4.3.7, 4.3.12). */
const SIZES = [["PK\x03\x04", 22], ["PK\x01\x02", 24]] as const;

/** A zip archive of `zeros` bytes, made by the `zip` tool, whose headers say that there are `told`. */
async function archiveOf(directory: string, zeros: number, told: number): Promise<string> {
  await Deno.writeFile(`${directory}/disk`, new Uint8Array(zeros));
  const { success } = await new Deno.Command("zip", { args: ["-q", "archive.zip", "disk"], cwd: directory }).output();
  assert(success);
  const path = `${directory}/archive.zip`;
  const bytes = await Deno.readFile(path);
  const text = new TextDecoder("latin1").decode(bytes);
  for (const [signature, at] of SIZES) {
    const header = new DataView(bytes.buffer, text.indexOf(signature));
    assertEquals(header.getUint32(at, true), zeros);
    header.setUint32(at, told, true);
  }
  await Deno.writeFile(path, bytes);
  return path;
}

Deno.test("zip: an archive that lies about a file's size is refused, and nothing is left", async () => {
  const size = 32 << 20;
  for (
    const [told, isTrue] of [
      [size, true],
      [4096, false],
      [size - 1, false],
      [size + 1, false],
    ] as const
  ) {
    await withDirectory(async (directory) => {
      const [archive, target] = [await archiveOf(directory, size, told), `${directory}/target`];
      if (isTrue) {
        assertEquals(await unzipOne(archive, "disk", target), size);
        return;
      }
      await assertRejects(() => unzipOne(archive, "disk", target), WrongContent, "is not a valid zip archive (Invalid");
      await assertRejects(() => Deno.stat(target), Deno.errors.NotFound);
    });
  }
});
