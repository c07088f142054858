/** Programs on the host while the emulator is up, and projects from config files. */
// needs: micro

import { assert, assertEquals, assertMatch } from "@std/assert";
import { exists } from "@std/fs/exists";
import type { Profile } from "../../lib/profile/profile.ts";
import type { GuestHome, GuestOptions } from "./guest_home.ts";
import { assertCode, readUntil, textReader } from "./program.ts";
import { until } from "./pace.ts";
import { PLACEHOLDER, ROTATE, secretMicro } from "./secret_micro.ts";

function projectMicro(options: GuestOptions = {}): Promise<GuestHome> {
  return secretMicro(ROTATE, (profile) => {
    profile.project = {
      port: "web",
      path: "/cgi-bin/project",
      headers: { "x-key": "${secret.TOKEN}" },
      body: { absolute_file_path: "${config.file}" },
      answer: ["project_id", "key"],
      environment: { PROJECT_ID: "${answer.project_id}", VITE_KEY: "${answer.key}" },
    };
    profile.environment = {
      API_URL: "http://127.0.0.1:${ports.web.host}",
      API_TOKEN: "${secret.TOKEN}",
      PRICE: "5$$",
    };
  }, options);
}

const stateOf = async (micro: GuestHome) => (await micro.status()).state;
const VARIABLES = 'echo "$API_URL|$API_TOKEN|$PROJECT_ID|$VITE_KEY|$PRICE|$OWN"';

/** Bash that asks for the guest's health. */
const ASK_HEALTH =
  `exec 3<>"/dev/tcp/127.0.0.1/\${API_URL##*:}"; printf 'GET /cgi-bin/health HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3`;

/** Prints its process id, hotboot's, and each signal. Ends at SIGTERM; its exit code counts the other signals. */
const LISTENER = `$| = 1; my $count = 0;
for my $name ("INT", "HUP") { $SIG{$name} = sub { $count++; print "$name\\n" }; }
$SIG{TERM} = sub { print "TERM\\n"; exit 40 + $count };
print "begun $$ ", getppid, "\\n"; sleep 1 while 1;`;

Deno.test("run: a command gets a healthy emulator, and the next start continues it", async (t) => {
  await using micro = await projectMicro();

  await t.step("if the command cannot run, nothing starts", async () => {
    const none = await micro.run("run", ["--", "no-such-program", "--help"]);
    assertEquals(none, { code: 127, stdout: "", stderr: "hotboot: there is no program 'no-such-program'\n" });
    const other = await micro.run("run", ["--", micro.profile]);
    assertEquals([other.code, other.stdout], [126, ""]);
    assertMatch(other.stderr, /^hotboot: .*micro\.json is not executable: type chmod \+x \S+\n$/);
    assertCode(await micro.run("run"), 2);
    assertEquals([await stateOf(micro), await micro.qemusLeft()], ["stopped", []]);
  });

  let token = "";
  await t.step("environment, input, output and exit code are passed through", async () => {
    const command = ["sh", "-c", `umask; ${VARIABLES}; cat; echo "$1" >&2; exit 5`, "sh", "a  'b\""];
    const stdin = new TextEncoder().encode("typed\n");
    const run = await micro.run("run", ["--quiet", "--", ...command], { stdin, env: { OWN: "kept" } });
    assertCode(run, 5);
    const [mask, ...lines] = run.stdout.split("\n");
    assertEquals(Number.parseInt(mask, 8), Deno.umask()); // the command's files are the user's
    const [url, secret, ...rest] = lines.join("\n").split("|");
    assertEquals([url, rest.join("|")], [`http://127.0.0.1:${micro.port}`, "||5$|kept\ntyped\n"]);
    assertMatch(run.stderr, /^(hotboot: warning: [^\n]*perl[^\n]*\n)?a {2}'b"\n$/);
    token = secret;
    assertMatch(token, /^[0-9a-f]{64}$/);
  });

  await t.step("the next run finds the same guest, however its command ends", async () => {
    assertEquals([await stateOf(micro), await micro.qemusLeft()], ["suspended", []]);
    assertEquals(
      (await micro.run("run", ["--", "sh", "-c", `test "$API_TOKEN" = ${token} && kill -KILL $$`])).code,
      137,
    );
    assertEquals((await micro.start()).origin, "continue");
  });

  await t.step("run waits for an instance that already runs, and leaves it running", async () => {
    const before = await micro.record();
    await micro.exec(
      "sh",
      "-c",
      "mv /www/cgi-bin/health /health; { sleep 2; mv /health /www/cgi-bin/health; } >/dev/null 2>&1 &",
    );
    const run = await micro.run("run", [
      "--",
      "bash",
      "-c",
      ASK_HEALTH,
    ]);
    assertCode(run, 0);
    assertMatch(run.stdout, /"uptime"/);
    assertEquals(await micro.record(), before);
    assertEquals(await stateOf(micro), "running");
  });
});

Deno.test("run: the command decides how to handle signals", async (t) => {
  await using micro = await projectMicro({ captured: true });

  await t.step("an interrupted start leaves nothing, and runs no command", async () => {
    const marker = `${micro.directory}/marker`;
    const child = micro.spawn("run", "--cold", "--", "touch", marker);
    await until(async () => (await micro.qemuProcesses()).length > 0, "QEMU's start");
    child.kill("SIGTERM");
    const { code, stderr } = await child.output();
    assertEquals(code, 130, new TextDecoder().decode(stderr));
    assertEquals([await stateOf(micro), await micro.qemusLeft()], ["stopped", []]);
    assert(!await exists(marker));
  });

  await t.step("each signal is passed on once, and hotboot waits", async () => {
    const child = micro.spawn("run", "--", "perl", "-e", LISTENER);
    const reader = textReader(child.stdout);
    await readUntil(reader, "begun");
    for (const name of ["INT", "HUP", "INT", "TERM"] as const) {
      child.kill(`SIG${name}`);
      assertEquals(await readUntil(reader, "\n"), `${name}\n`);
    }
    assertEquals((await child.status).code, 43);
    await reader.cancel();
    await child.stderr.cancel();
    assertEquals(await stateOf(micro), "suspended");
  });

  await t.step(
    "a signal that ends the command sets the exit code; one during the save changes nothing",
    async () => {
      const child = micro.spawn("run", "--", "sh", "-c", "echo begun; exec sleep 1000");
      const [reader, errors] = [textReader(child.stdout), textReader(child.stderr)];
      await readUntil(reader, "begun");
      child.kill("SIGINT");
      await readUntil(errors, "save the memory");
      child.kill("SIGINT");
      assertEquals((await child.status).code, 130);
      await Promise.all([reader.cancel(), errors.cancel()]);
      assertEquals(await stateOf(micro), "suspended");
    },
  );

  await t.step("signals from the terminal, which reach both, are not passed on; SIGTERM is", async () => {
    const child = micro.spawnOnTerminal("run", "--", "perl", "-e", LISTENER);
    const reader = textReader(child.stdout);
    const begun = await readUntil(reader, "begun");
    const hotboot = Number(begun.match(/begun \d+ (\d+)/)![1]);
    const keyboard = child.stdin.getWriter();
    for (let times = 0; times < 5; times++) { // two at the same time count once
      await keyboard.write(new TextEncoder().encode("\x03"));
      await readUntil(reader, "INT");
    }
    Deno.kill(hotboot, "SIGTERM"); // it would arrive after the others, if they were passed on
    await readUntil(reader, "TERM");
    assertEquals((await child.status).code, 45);
    await Promise.all([reader.cancel(), child.stderr.cancel(), keyboard.close().catch(() => {})]);
    assertEquals(await stateOf(micro), "suspended");
  });
});

Deno.test("--config-file: start makes a project from it, and prints its keys", async (t) => {
  await using micro = await projectMicro({ captured: true });
  const [file, link] = [`${await Deno.realPath(micro.directory)}/the shop.config.ts`, `${micro.directory}/link.ts`];
  await Deno.writeTextFile(file, "export {};\n");
  await Deno.symlink(file, link);

  await t.step("a bad request is refused before anything starts", async () => {
    for (
      const [path, why] of [[
        "nowhere.ts",
        /^hotboot: the config file nowhere\.ts does not exist: name one that does\n$/,
      ], [
        micro.directory,
        /is not a file: name a config file\n$/,
      ]] as const
    ) {
      for (const [verb, ...more] of [["start"], ["run", "--", "true"]]) {
        const run = await micro.run(verb, ["--config-file", path, ...more]);
        assertCode(run, 1);
        assertMatch(run.stderr, why);
      }
    }
    const plain = `${micro.directory}/plain.json`;
    const { project: _, environment: __, ...profile }: Profile = JSON.parse(await Deno.readTextFile(micro.profile));
    await Deno.writeTextFile(plain, JSON.stringify(profile));
    const run = await micro.run("start", ["--config-file", file, "--profile", plain]);
    assertCode(run, 1);
    assertMatch(
      run.stderr,
      /^hotboot: profile 'micro' cannot use a config file: it has no 'project'; leave out --config-file\n$/,
    );
    assertEquals(await micro.qemusLeft(), []);
  });

  await t.step("start prints only the project, whether it resumes, runs or continues", async () => {
    const first = await micro.run("start", ["--config-file", "link.ts"], { cwd: micro.directory });
    assertCode(first, 0);
    const { TOKEN } = JSON.parse(await micro.succeed("credentials", ["--json"]));
    assertEquals(JSON.parse(first.stdout), { project_id: file, key: `key of ${TOKEN}` });
    assert(!first.stderr.includes(TOKEN));
    assertEquals(await micro.succeed("start", ["--json", "--config-file", link]), first.stdout);
    await micro.succeed("stop");
    assertEquals(await micro.succeed("start", ["--config-file", file]), first.stdout);
    for await (const { name } of Deno.readDir(micro.instance)) {
      if (!/\.(json|log)$/.test(name) || name === "credentials.json") continue;
      assert(!(await Deno.readTextFile(`${micro.instance}/${name}`)).includes(TOKEN), name);
    }
  });

  await t.step("run passes it to the command", async () => {
    const run = await micro.run("run", ["--quiet", "--config-file", file, "--", "sh", "-c", VARIABLES]);
    const { TOKEN } = JSON.parse(await micro.succeed("credentials", ["--json"]));
    assertEquals(run.stdout, `http://127.0.0.1:${micro.port}|${TOKEN}|${file}|key of ${TOKEN}|5$|\n`);
  });

  await t.step("a refusal gives one line without secrets, and the emulator runs on", async () => {
    const broken = "sed 's:/www/token:/nothing:' /www/cgi-bin/project >/broken; cat /broken >/www/cgi-bin/project";
    await micro.exec("sh", "-c", `${broken}; touch /nothing`); // the endpoint refuses the valid secrets
    const start = await micro.run("start", ["--quiet", "--config-file", file]);
    assertEquals([start.code, start.stdout], [1, ""]);
    assertMatch(
      start.stderr,
      /^hotboot: could not make a project from [^\n]*: 'web' answered 403: the key is wrong:; <TOKEN>; correct that file, or 'project' in the profile\n$/,
    );
    const run = await micro.run("run", ["--quiet", "--config-file", file, "--", "echo", "run"]);
    assertEquals([run.code, run.stdout, run.stderr], [1, "", start.stderr]);
    await micro.exec(
      "sh",
      "-c",
      `printf '#!/bin/sh\\nprintf "\\\\r\\\\n{}"\\n' >/www/cgi-bin/project`,
    );
    const empty = await micro.run("start", ["--quiet", "--config-file", file]);
    assertMatch(
      empty.stderr,
      /^hotboot: could not make a project from [^\n]*: the answer of 'web' lacks 'project_id'; correct that file, or 'project' in the profile\n$/,
    );
    assertEquals(await stateOf(micro), "running");
    await micro.succeed("stop", ["--discard"]);
  });

  await t.step("without rotation, the placeholder is the key", async () => {
    const run = await micro.run("run", ["--no-rotation", "--config-file", file, "--", "sh", "-c", "echo $VITE_KEY"]);
    assertCode(run, 0);
    assertEquals(run.stdout, `key of ${PLACEHOLDER}\n`);
    assertMatch(run.stderr, /secrets were NOT rotated/);
  });
});
