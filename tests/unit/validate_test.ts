/** Everything that is wrong with a profile's file, or unwise, at once and with its place. */

import { assertEquals, assertMatch } from "@std/assert";
import { loadProfile } from "../../lib/profile/load.ts";
import { shownProfile } from "../../lib/profile/shown.ts";
import { type Finding, validateProfile } from "../../lib/profile/validate.ts";
import { withDirectory } from "./temporary.ts";

const found = ({ line, column, isWarning, text }: Finding) =>
  `${line}:${column} ${isWarning ? "warning: " : ""}${text}`;

/** The findings for a file in a directory with `build.sh`. */
async function validate(text: string, variables: Record<string, string> = {}): Promise<string[]> {
  let findings: Finding[] = [];
  await withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/build.sh`, "");
    findings = await validateProfile(text, `${directory}/hotboot.json`, (name) => variables[name]);
  });
  return findings.map(found);
}

const GOOD = `{
  // a comment
  "name": "shop",
  "image": { "build": { "script": "build.sh", "inputs": ["build.sh"] } },
  "machine": { "memory": 512, "cpus": 2 },
  "ports": { "api": { "guest": 80, "host": "\${env.API_PORT:-26000}" } },
  "health": [{ "name": "api", "port": "api", "path": "/" }],
}
`;

Deno.test("validate: a file with comments and trailing commas has nothing wrong", async () => {
  assertEquals(await validate(GOOD), []);
});

Deno.test("validate: a text that nothing could work with is refused with one line", async () => {
  assertEquals(await validate(`{ "\\ud800": 1 }`), [
    "1:3 the file is not JSON: this text has half a character in it, such as \\ud800: complete it",
  ]);
  for (const depth of [102, 2000, 100_000]) {
    const [{ length, [0]: finding }] = [await validate("[".repeat(depth) + "]".repeat(depth))];
    assertEquals(length, 1);
    assertMatch(finding, /^1:\d+ the file is not JSON: it is nested more than 100 levels deep: make it flatter$/);
  }
});

Deno.test("validate: all mistakes are found at once, each with its line and column", async () => {
  const text = `{
  "name": "Shop",
  "image": { "build": { "script": "build.sh", "inputs": ["build.sh"] } },
  "machine": { "memory": "1G", "cpu": 2, "cpus": "\${env.CPUS}" },
  "ports": { "web/1": { "guest": 80, "host": "\${env.WEB}" }, "api": { "guest": 80 } },
  "health": [{ "name": "x", "port": "api", "path": "/" },
    { "name": "y", "port": "api", "path": "y" }],
  "environment": { "A": "\${env.MISSING}" }
}`;
  const all = await validate(text, { WEB: "http" });
  assertEquals(all.map((each) => each.split(": ").slice(0, 2).join(": ")), [
    "2:3 name: it does not match ^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$",
    "4:16 machine.memory: '1G' is not a number",
    "4:32 machine.cpu: there is no such field; there are memory, cpus, append, network",
    "4:42 machine.cpus: the variable CPUS is not set",
    "5:14 ports.web/1: it does not match ^[a-z0-9][a-z0-9-]*$",
    "5:38 WEB is 'http', which is not a port: use an integer from 1 to 65535",
    '5:62 ports.api: the field "host" is missing',
    "7:35 health[1].path: it does not match ^/",
    "8:20 environment.A: the variable MISSING is not set",
  ]);
});

Deno.test("validate: what the fields say together is looked at when each is right", async () => {
  const text = GOOD.replace('"port": "api"', '"port": "web"').replace(
    '"inputs": ["build.sh"]',
    '"inputs": ["build.sh", "guest"]',
  )
    .replace('"ports": {', '"ports": { "web2": { "guest": 81, "host": 26000 },')
    .replace('"health"', '"environment": { "PATH": "x", "KEY": "${secret.KEY}" },\n  "health"');
  assertEquals(await validate(text), [
    "6:76 ports.api.host: 26000 is also the port of 'web2': choose another",
    "7:20 environment.PATH: with it a program runs other code: remove it",
    "7:33 environment.KEY: ${secret.KEY} is not defined: correct that name",
    "8:31 health[0].port: there is no port 'web': name one of ports",
  ]);
  const base = '{ "url": "https://x", "sha256": { "amd64": "zz" } }';
  const built = `"build": { "cloudInit": { "base": ${base}, "disk": 9, "userData": "build.sh" } }`;
  assertEquals(await validate(GOOD.replace(/"build": .*? \}/, built)), [
    "4:82 image.build.cloudInit.base.sha256.amd64: it does not match ^[0-9a-f]{64}$: correct it",
  ]);
  assertEquals(await validate(GOOD.replace('"inputs": ["build.sh"]', '"inputs": ["build.sh", "guest"]')), [
    "4:70 image.build.inputs[1]: there is no file 'guest': make it, or correct the path",
  ]);
});

Deno.test("validate: of a text that is no JSON, the first wrong place is named", async () => {
  assertEquals(await validate(GOOD.replace('"name": "shop"', "'name': 'shop'").replace('"cpus": 2', '"cpus" 2')), [
    "3:3 the file is not JSON: ' cannot be here, or something is missing before it: correct that",
  ]);
  assertEquals(await validate(""), [
    "1:1 the file is not JSON: the text ends too early: complete it",
  ]);
});

Deno.test("validate: fields that an object has twice are named with all other mistakes", async () => {
  const all = await validate(GOOD.replace('"cpus": 2', '"cpus": 0, "cpus": 2, "memory": 1'));
  assertEquals(all.map((each) => each.split(":").slice(0, 2).join(":").replace(/, .*/, "")), [
    "5:42 the file has the field 'cpus' twice in one object",
    "5:53 the file has the field 'memory' twice in one object",
    "5:53 machine.memory",
  ]);
});

Deno.test("validate: warns of what is allowed and unwise", async () => {
  const text = GOOD.replace('"inputs": ["build.sh"]', '"inputs": ["hotboot.json"]').replace("26000", "80")
    .replace(
      '"health"',
      `"secrets": [{ "name": "KEY", "placeholder": "x" }],
  "rotation": { "command": ["rotate"], "proof": [{ "name": "it", "port": "api", "path": "/", "contains": ["\${secret.KEY}"] }] },
  "share": { "tag": "x", "path": "/", "mount": ["m"], "readOnly": false },
  "health"`,
    );
  const all = await validate(text.replace('"hotboot.json"', '"/"'));
  assertEquals(all.every((each) => each.includes("warning: ")), true, all.join("\n"));
  assertEquals(all.map((each) => each.replace(/^\S+ warning: ([^:]+): .*/, "$1")), [
    "ports.api.host",
    "secrets[0].placeholder",
    "rotation",
    "rotation.proof",
    "share.readOnly",
  ]);
  assertMatch(
    (await validate(text.replace('"hotboot.json"', '"/etc"')))[0],
    /^4:47 warning: image\.build\.inputs: the script/,
  );
  const release = '{ "release": { "repository": "a/b", "tag": "t", "assets": { "disk": "d" } } }';
  const pulled = GOOD.replace(/"image": .*,/, `"image": ${release},`);
  const attestation = '{ "workflow": "a/b/.github/workflows/i.yml", "trustedRoot": "no.json" }';
  assertMatch(
    (await validate(pulled.replace(release, release.replace(/ }$/, `, "attestation": ${attestation} }`))))[0],
    /^4:\d+ image\.attestation\.trustedRoot: there is no file 'no\.json'/,
  );
  assertMatch((await validate(pulled))[0], /^5:3 warning: machine: .*"network": "restricted"/);
  assertEquals(await validate(pulled.replace('"cpus": 2', '"cpus": 2, "network": "restricted"')), []);
});

Deno.test("show: defaults and absolute paths are there, and values that may be secret are not", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/hotboot.json`;
    const text = GOOD.replace(
      '"health"',
      '"environment": { "TOKEN_URL": "http://x/${env.DB_PASSWORD}", "A": "${env.PLAIN}" },\n  "health"',
    );
    await Deno.writeTextFile(path, text);
    const variables: Record<string, string> = { DB_PASSWORD: 'so"secret', PLAIN: "plain" };
    const loaded = await loadProfile(path, (name) => variables[name]);
    const shown = shownProfile(loaded, directory, variables);
    assertEquals(shown, {
      name: "shop",
      image: { build: { script: `${directory}/build.sh`, inputs: [`${directory}/build.sh`] } },
      machine: { memory: 512, cpus: 2, network: "open" },
      ports: { api: { guest: 80, host: 26000, variable: "API_PORT" } },
      environment: { TOKEN_URL: "http://x/<DB_PASSWORD>", A: "plain" },
      health: [{ name: "api", port: "api", path: "/", status: 200 }],
      timeouts: { boot: 240, resume: 45 },
      engine: "instant",
    });
    assertEquals(loaded.profile.environment!.TOKEN_URL, 'http://x/so"secret'); // it is a copy
  }));
