/** hotboot run from a URL: a release's single file, and the plain sources. */
// needs: micro

import { assertEquals, assertMatch } from "@std/assert";
import { bundle } from "../../dev/bundle.ts";
import { importArguments, ROOT } from "../../dev/deno.ts";
import { programFlags } from "../../lib/cli/permissions/program.ts";
import config from "../../deno.json" with { type: "json" };
import { GuestHome } from "./guest_home.ts";
import { assertCode, type Run } from "./program.ts";

/** Serves a checkout as any file server would. */
function serveCheckout(): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async ({ url }) => {
    const { pathname } = new URL(url);
    const type = { ts: "application/typescript", js: "text/javascript", json: "application/json" };
    const headers = { "content-type": type[pathname.split(".").at(-1) as keyof typeof type] ?? "text/plain" };
    return await Deno.readFile(ROOT + pathname.slice(1)).then(
      (bytes) => new Response(bytes, { headers }),
      () => new Response(null, { status: 404 }),
    );
  });
}

Deno.test("hotboot runs from a URL, as one file and as sources", async (t) => {
  await bundle();
  await using server = serveCheckout();
  await using micro = await GuestHome.make();
  const origin = `http://127.0.0.1:${server.addr.port}`;
  // The sources' bare imports come from deno.json, which is also an import map.
  const [map = `${ROOT}deno.json`] = (await importArguments()).map((argument) => argument.replace("--import-map=", ""));
  const sources = [`--import-map=${origin}/${map.slice(ROOT.length)}`, `${origin}/cli.ts`];

  const all = ["-A", "--no-prompt", "--unstable-worker-options"];
  const programs = [["hotboot.js", [...programFlags(), `${origin}/dist/hotboot.js`]], ["cli.ts", [
    ...all,
    ...sources,
  ]]] as const;
  for (const [name, program] of programs) {
    const run = async (...args: string[]): Promise<Run> => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-q", ...program, ...args],
        cwd: micro.directory, // it has no deno.json
      }).output();
      const [out, error] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
      return { code, stdout: out, stderr: error };
    };
    await t.step(`${name}: --version`, async () => {
      const { code, stdout } = await run("--version");
      assertEquals(code, 0);
      assertMatch(stdout, new RegExp(`^hotboot ${RegExp.escape(config.version)}( \\([0-9a-f]{12}\\+?\\))?\\n$`));
    });
    await t.step(`${name}: iso create`, async () => {
      assertCode(await run("iso", "create", "-o", "made.iso", "--label", "URL", micro.profile), 0);
      const { stdout } = await run("iso", "ls", "--json", "made.iso");
      assertEquals(JSON.parse(stdout).label, "URL");
    });
    await t.step(`${name}: start`, async () => {
      const started = await run(...micro.arguments("start", "--json"));
      assertCode(started, 0);
      assertEquals(JSON.parse(started.stdout).origin, "resume");
      assertCode(await run(...micro.arguments("snapshot export", "made.tar.zst")), 0); // on several threads
      assertCode(await run(...micro.arguments("stop", "--discard")), 0);
    });
  }
  await t.step("the error says if the command has too few permissions", async () => {
    const flags = programFlags().filter((flag) => flag !== "--allow-write");
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", ...flags, `${origin}/dist/hotboot.js`, "iso", "create", "-o", "less.iso", micro.profile],
      cwd: micro.directory,
    }).output();
    assertEquals(code, 1);
    assertMatch(
      new TextDecoder().decode(stderr),
      /^(Info [^\n]*\n)*hotboot: deno has fewer permissions than 'iso create' needs [^\n]*\n$/,
    );
  });
  await t.step("the error says that a recipe at a URL cannot run", async () => {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", ...all, ...sources, "build", "--profile", "demo", "--home", micro.home],
      cwd: micro.directory,
    }).output();
    assertEquals(code, 1);
    assertMatch(new TextDecoder().decode(stderr), /^hotboot: the recipe of 'demo' is at http[^\n]*: [^\n]*\n$/);
  });
});
