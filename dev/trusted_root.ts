/**
 * Renews the keys of Sigstore's public instance, `lib/sigstore/trusted_root.json`, from npm's package `@sigstore/tuf`:
 *
 *     deno run -A dev/trusted_root.ts 5.0.1
 *
 * Its developers take them over from Sigstore's TUF repository, whose signatures they check.
 */

import { ROOT } from "./deno.ts";

const PATH = `${ROOT}lib/sigstore/trusted_root.json`;

const [version] = Deno.args;
if (!/^\d+\.\d+\.\d+$/.test(version ?? "")) {
  console.error("hotboot: name a version of @sigstore/tuf, such as 5.0.1");
  Deno.exit(2);
}
const directory = await Deno.makeTempDir();
const run = async (program: string, ...args: string[]) => {
  const { success, stdout } = await new Deno.Command(program, { args, cwd: directory, stderr: "inherit" }).output();
  if (!success) Deno.exit(1);
  return new TextDecoder().decode(stdout).trim();
};
const archive = await run("npm", "pack", "--silent", `@sigstore/tuf@${version}`);
const seeds = JSON.parse(await run("tar", "-xzOf", archive, "package/seeds.json"));
await Deno.remove(directory, { recursive: true });
const { targets } = seeds["https://tuf-repo-cdn.sigstore.dev"];
await Deno.writeTextFile(PATH, atob(targets["trusted_root.json"]));
await new Deno.Command(Deno.execPath(), { args: ["fmt", "-q", PATH] }).output();
