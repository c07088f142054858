/** What `hotboot init` writes, without running it. */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { parse } from "@std/yaml/parse";
import { HotbootError } from "../../lib/base/error.ts";
import { readComposeFile } from "../../lib/cli/init/compose_file.ts";
import { WRITTEN } from "../../lib/cli/init/places.ts";
import { firstPort, SCHEMA } from "../../lib/cli/init/template.ts";
import { TEMPLATES } from "../../lib/cli/init/templates.ts";
import { seedFiles } from "../../lib/image/seed_disk.ts";
import { parseProfile } from "../../lib/profile/parse.ts";
import config from "../../deno.json" with { type: "json" };

const OWN = { path: "docker-compose.yml", text: 'services: {api: {build: ., ports: ["8080:80"]}}\n' };
/** Drafts of all kinds. */
const DRAFTS = {
  postgres: await TEMPLATES.postgres.draft({ name: "shop", values: {} }),
  compose: await TEMPLATES.compose.draft({ name: "shop", values: {} }),
  "compose, with a base": await TEMPLATES.compose.draft({ name: "shop", values: { base: "base.qcow2" } }),
  "compose, with a file": await TEMPLATES.compose.draft({ name: "shop", values: {}, compose: OWN }),
  release: await TEMPLATES.release.draft({ name: "shop", values: { repo: "acme/shop" } }),
};

Deno.test("init: each template's profile has comments and can be used", () => {
  for (const [title, { files }] of Object.entries(DRAFTS)) {
    const text = files["hotboot.json"];
    const profile = parseProfile(text, title);
    assertEquals(profile.name, "shop");
    assert(text.split("\n").filter((line) => line.includes("//")).length > 8, title);
    assert(text.includes(`"$schema": "${SCHEMA}"`));
    const outside = Object.keys(files).filter((path) => !WRITTEN.includes(path.split("/")[0]));
    assertEquals(outside, [], title);
  }
  assert(SCHEMA.includes(`/v${config.version}/`) && SCHEMA.endsWith("/lib/profile/schema.json"));
});

Deno.test("init: what is commented out in a profile is right when it is not", () => {
  for (const title of ["compose, with a file", "release"] as const) {
    const text = DRAFTS[title].files["hotboot.json"].replaceAll(
      /^ {2}\/\/ (?="(?:secrets|rotation)":| {2}|\})/gm,
      "  ",
    );
    const { secrets, rotation } = parseProfile(text, title);
    assertEquals([secrets!.map(({ name }) => name), rotation!.proof.length], [["API_KEY"], 2], title);
  }
});

Deno.test("init: programs and user data are well-formed", async () => {
  for (const [title, { files }] of Object.entries(DRAFTS)) {
    for (const [path, text] of Object.entries(files)) {
      if (text.startsWith("#!")) {
        const shell = text.match(/^#!\S*?(?:env )?([a-z]+)\n/)![1];
        const child = new Deno.Command(shell, { args: ["-n"], stdin: "piped", stderr: "piped" }).spawn();
        await new Blob([text]).stream().pipeTo(child.stdin);
        const { success, stderr } = await child.output();
        assert(success, `${title}: ${path}: ${new TextDecoder().decode(stderr)}`);
      }
      if (path.endsWith(".yaml")) assert(typeof parse(text) === "object", path);
    }
  }
  const data = parse(DRAFTS.compose.files["hotboot/user-data.yaml"]) as { runcmd: string[]; packages: string[] };
  assert(data.runcmd.every((line) => typeof line === "string"), JSON.stringify(data.runcmd)); // a colon makes it an object
  assertEquals(data.runcmd[0], "set -e");
  assert(data.packages.includes("qemu-guest-agent"));
  for (const { files } of Object.values(DRAFTS)) {
    const userData = files["hotboot/user-data.yaml"];
    if (userData) seedFiles({ instanceId: "x", hostname: "shop", userData, secrets: [] });
  }
});

Deno.test("init: the example's ports, variables and secrets are those of the profile", () => {
  const { files } = DRAFTS.compose;
  const { ports, secrets } = parseProfile(files["hotboot.json"], "x");
  const read = readComposeFile(files["compose.yaml"], "compose.yaml");
  assertEquals(read, { ports: [{ name: "web", port: 8080, isHttp: true }], usesFiles: false, notes: [] });
  assertEquals(ports.web.guest, 8080);
  for (const { name } of secrets!) assert(files["compose.yaml"].includes(`${name}: \${${name}}`));
});

Deno.test("init: a project's compose file is taken, with the ports that it publishes", () => {
  const text = `
services:
  api: {build: ./api, ports: ["8080:3000", "127.0.0.1:9000:9000", "53:53/udp", "7000"]}
  Web_UI:
    image: x
    ports:
      - "\${WEB_PORT:-8081}:80"
      - {published: 8443, target: 443}
      - 8000-8001:8000-8001
  db: {image: postgres, ports: ["0.0.0.0:5432:5432"], volumes: ["data:/var/lib/postgresql"]}
  same: {image: x, ports: ["8080:1"]}
volumes: {data: }
`;
  const { ports, usesFiles, notes } = readComposeFile(text, "compose.yaml");
  assertEquals(ports.map(({ name, port, isHttp }) => `${name} ${port}${isHttp ? " http" : ""}`), [
    "api 8080 http",
    "web-ui 8081 http",
    "web-ui-8443 8443 http",
    "web-ui-8000 8000 http",
    "web-ui-8001 8001 http",
    "db 5432",
  ]);
  assertEquals([usesFiles, notes.length], [true, 3], notes.join("\n"));
  assertMatch(notes[0], /"127\.0\.0\.1:9000:9000" of 'api' is left out, because it is published for 127\.0\.0\.1 only/);
  assertMatch(notes[1], /only TCP/);
  assertMatch(notes[2], /no fixed number/);

  const files = (fields: string) =>
    readComposeFile(`services: {a: {image: x, ports: ["1:80"], ${fields}}}`, "c").usesFiles;
  assertEquals(["env_file: .env", "volumes: [./a:/a]", "volumes: [{type: bind, source: ., target: /a}]"].map(files), [
    true,
    true,
    true,
  ]);
  assertEquals(["volumes: [a:/a]", "volumes: [/a:/a]", "environment: [A=1]"].map(files), [false, false, false]);

  const refused: [string, RegExp][] = [
    ["{", /^c is not YAML \(.*\): correct it$/],
    ["", /^c has no services: add one$/],
    ["services: {}", /^c has no services: add one$/],
    ["services: {db: {image: x, ports: ['5432:5432']}}", /^c publishes no port of a web server, .*: add one/],
    ["services: {api: {image: x, ports: ['80']}}", /^c publishes no port .*no fixed number.*: add one/],
  ];
  for (const [text, why] of refused) {
    assertMatch(assertThrows(() => readComposeFile(text, "c"), HotbootError).message, why);
  }
});

Deno.test("init: two projects rarely want the same ports, and none wants those of outgoing connections", () => {
  const names = ["shop", "web", "api", "backend", "demo", "my-shop", "store", "blog", "a", "z".repeat(64)];
  const ports = names.map(firstPort);
  assertEquals(new Set(ports).size, names.length);
  assert(ports.every((port) => port >= 27_000 && port + 9 < 32_768));
});
