import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { parseProfile } from "../../lib/profile/parse.ts";
import { loadProfile } from "../../lib/profile/load.ts";
import schema from "../../lib/profile/schema.json" with { type: "json" };
import micro from "../../qemu/micro/profile.json" with { type: "json" };

const { $schema: _, timeouts: __, ...plain } = micro;

/** The profile with the field at `path` replaced; without a value, removed. */
function changed(path: (string | number)[], value?: unknown): string {
  const copy = structuredClone(plain);
  const last = path.at(-1)!;
  // deno-lint-ignore no-explicit-any -- it walks through any object
  const parent = path.slice(0, -1).reduce<any>((at, key) => at[key], copy);
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return JSON.stringify(copy);
}

Deno.test("profile: limits have defaults", () => {
  assertEquals(parseProfile(JSON.stringify(plain), "x").timeouts, { boot: 240, resume: 45 });
  assertEquals(parseProfile(changed(["timeouts"], { resume: 5 }), "x").timeouts, { boot: 240, resume: 5 });
});

Deno.test("profile: it may have comments and trailing commas", () => {
  const text = JSON.stringify(plain, null, 2).replaceAll(/\n/g, ' // "no": [\n').replaceAll(
    /([}\]]) \/\//g,
    "$1 /* , */ //",
  );
  const commented = text.replace(/("boot": \d+|"\/cgi-bin\/health") /, "$1, ");
  assertEquals(parseProfile(commented, "x"), parseProfile(JSON.stringify(plain), "x"));
});

Deno.test("profile: an error names the path of the bad field", () => {
  const refused: [string, RegExp][] = [
    ["{", /^profile x is not JSON /],
    ["[]", /^profile x: the whole file: /],
    [changed(["name"]), /"name"/],
    [changed(["name"], "Demo"), /: name: /],
    [changed(["name"], "../demo"), /: name: /],
    [changed(["colour"], "red"), /colour/],
    [changed(["machine", "memory"], "1G"), /: machine\.memory: /],
    [changed(["machine", "memory"], 8), /: machine\.memory: /],
    [changed(["machine", "cpus"], 1.5), /: machine\.cpus: /],
    [changed(["machine", "network"], "closed"), /: machine\.network: .*"restricted"/],
    [changed(["machine", "cpus"], ""), /: machine\.cpus: '' is not a number: use an integer from 1 to 255$/],
    [
      changed(["ports", "web", "host"], "http"),
      /: ports\.web\.host: 'http' is not a port: use an integer from 1 to 65535$/,
    ],
    [changed(["home"], { instances: "cache" }), /: home\.instances: /],
    [changed(["home"], { instances: "../run" }), /: home\.instances: /],
    [changed(["home"], {}), /: home: /],
    [changed(["ports", "web", "host"], 70000), /: ports\.web\.host: /],
    [changed(["ports", "web", "guest"]), /: ports\.web: .*"guest"/],
    [
      changed(["machine", "cpu"], 2),
      /: machine\.cpu: there is no such field; there are memory, cpus, append, network: /,
    ],
    [
      changed(["health", 0, "pth"], "/"),
      /: health\[0\]\.pth: there is no such field; there are name, port, path, status: /,
    ],
    [
      "{'name': 'x' }",
      /^profile x is not JSON \(line 1, column 2\): ' cannot be here, or something is missing before it: /,
    ],
    [
      '{ "a": 1\n  "b": 2 }',
      /^profile x is not JSON \(line 2, column 3\): "b" cannot be here, or something is missing /,
    ],
    ['{\n"a": 1, // one\n"b": /* two */ [2,,] }', /^profile x is not JSON \(line 3, column 19\): , cannot be here/],
    ['{ "a": 1 /* one', /^profile x is not JSON \(line 1, column 16\): the text ends too early: complete it$/],
    [
      '{ "a": { "b": 1 } // one',
      /^profile x is not JSON \(line 1, column 18\): the text ends too early: complete it$/,
    ],
    [
      '\ufeff{ "a": "x\ty" }',
      /^profile x is not JSON \(line 1, column 8\): this text has .*control character .*: write \\n/,
    ],
    ['{ "a": 1 }}', /^profile x is not JSON \(line 1, column 11\): the text is not complete here, or has too much: /],
    ['{ "a\n": 1 }', /^profile x is not JSON \(line 1, column 3\): this text has .*control character /],
    ["// nothing", /^profile x is not JSON \(line 1, column 1\): the text ends too early: complete it$/],
    [
      '{ "a": { "name": 1 }, "b": [{ "name": "name" }], // both are\n"n\\u0061me": 1, "name": 2 }',
      /^profile x has the field 'name' twice in one object \(line 2, column 17\): remove one of them$/,
    ],
    [changed(["health"], []), /: health: /],
    [changed(["health", 0, "path"], "health"), /: health\[0\]\.path: /],
    [changed(["health", 0, "port"], "api"), /: health\[0\]\.port: there is no port 'api': name one of ports$/],
    [
      changed(["ports", "api"], { guest: 1, host: micro.ports.web.host }),
      /: ports\.api\.host: 26880 is also .*'web': choose another$/,
    ],
    [changed(["timeouts"], { boot: 0 }), /: timeouts\.boot: /],
    [changed(["image"], {}), /: image: /],
    [changed(["image"], { build: {} }), /: image\.build: use exactly one of "script", "cloudInit"$/],
    [changed(["image"], { build: { script: "x" } }), /: image\.build: .*"inputs"/],
    [
      changed(["image"], { release: { repository: "x", tag: "t", assets: { disk: "d" } } }),
      /: image\.release\.repository: /,
    ],
    [
      changed(["image"], { release: { repository: "a/b", tag: "t", assets: {} } }),
      /: image\.release\.assets: .*"disk"/,
    ],
    [ // it becomes a file name
      changed(["image"], { release: { repository: "a/b", tag: "t", assets: { disk: "d" }, artifact: "../x" } }),
      /: image\.release\.artifact: /,
    ],
    [changed(["config", "files"], {}), /: config\.files: /],
    [changed(["config", "label"], "ä"), /: config\.label: /],
    [changed(["config", "files", "runtime.env", 0], "a\nb"), /: config\.files\.runtime\.env\[0\]: /],
  ];
  for (const [text, why] of refused) {
    const error = assertThrows(() => parseProfile(text, "x"), HotbootError);
    assertEquals(why.test(error.message) && !error.message.includes("\n"), true, `${text}\n${error.message}`);
  }
});

Deno.test("profile: an attestation is checked", () => {
  const oci = "oci://registry.example.com/shop:main";
  const workflow = "acme/shop/.github/workflows/image.yml";
  const parse = (attestation: object, image: object = { oci }) =>
    parseProfile(changed(["image"], { ...image, attestation }), "x").image.attestation;
  assertEquals(parse({ workflow }), { workflow });
  parse({
    workflow,
    repository: "acme/shop",
    ref: "refs/tags/{tag}",
    required: true,
    issuer: "https://issuer.example",
  });
  parse({ workflow: `${workflow}@refs/tags/v1`, repository: "acme/other" });
  const refused: [() => unknown, RegExp][] = [
    [() => parse({}), /: image\.attestation: .*"workflow"/],
    [() => parse({ workflow: "image.yml" }), /: image\.attestation\.workflow: it does not match/],
    [() => parse({ workflow: `${workflow}@` }), /: image\.attestation\.workflow: /],
    [() => parse({ workflow: workflow.replace(".yml", ".sh") }), /: image\.attestation\.workflow: /],
    [() => parse({ workflow, ref: "main" }), /: image\.attestation\.ref: /],
    [() => parse({ workflow, issuer: "http://issuer.example" }), /: image\.attestation\.issuer: /],
    [() => parse({ workflow, required: "yes" }), /: image\.attestation\.required: /],
    [
      () => parse({ workflow, repository: "acme/other" }),
      /attestation\.workflow: it is none of acme\/other: add its own/,
    ],
    [
      () => parse({ workflow }, plain.image),
      /: image\.attestation: it is of an image that is pulled: add "release" or/,
    ],
  ];
  for (const [act, why] of refused) assertMatch(assertThrows(act, HotbootError).message, why);
});

Deno.test("profile: a cloud-init recipe is checked", () => {
  const recipe = {
    base: { url: "https://example.com/{arch}.qcow2", sha256: { amd64: "a".repeat(64) } },
    disk: 8192,
    userData: "user-data.yaml",
    bundle: { label: "BUNDLE", paths: ["guest"] },
    timeout: 600,
  };
  const parse = (cloudInit: object, more = {}) =>
    parseProfile(changed(["image"], { build: { cloudInit, ...more } }), "x");
  assertEquals(parse(recipe).image.build, { cloudInit: recipe });
  const debian = { url: recipe.base.url, sha512: { amd64: "a".repeat(128) } };
  for (const base of [debian, { file: "base.qcow2" }, { script: "make.sh", inputs: ["make.sh"] }]) {
    parse({ ...recipe, base });
  }
  const refused: [object, RegExp][] = [
    [{ ...recipe, disk: "8G" }, /: image\.build\.cloudInit\.disk: /],
    [{ ...recipe, userData: undefined }, /: image\.build\.cloudInit: .*"userData"/],
    [{ ...recipe, bundle: { label: "B", paths: [] } }, /: image\.build\.cloudInit\.bundle\.paths: /],
    [{ ...recipe, bundle: { label: "ä", paths: ["x"] } }, /: image\.build\.cloudInit\.bundle\.label: /],
    [{ ...recipe, base: { url: recipe.base.url } }, /: image\.build\.cloudInit\.base: .*"sha256"/],
    [{ ...recipe, base: { ...recipe.base, sha256: { amd64: "abc" } } }, /cloudInit\.base\.sha256\.amd64: /],
    [
      { ...recipe, base: { ...recipe.base, sha256: { riscv64: "a".repeat(64) } } },
      /cloudInit\.base\.sha256\.riscv64: /,
    ],
    [{ ...recipe, base: { ...recipe.base, url: "ftp://example.com" } }, /: image\.build\.cloudInit\.base\.url: /],
    [{ ...recipe, base: { ...recipe.base, ...debian } }, /cloudInit\.base: use exactly one of "sha256", "sha512"$/],
    [{ ...recipe, base: { ...debian, sha512: recipe.base.sha256 } }, /cloudInit\.base\.sha512\.amd64: /],
    [{ ...recipe, base: {} }, /cloudInit\.base: use exactly one of "url", "file", "script"$/],
    [{ ...recipe, base: { ...recipe.base, file: "x" } }, /cloudInit\.base: use exactly one of .*$/],
  ];
  for (const [cloudInit, why] of refused) assertMatch(assertThrows(() => parse(cloudInit), HotbootError).message, why);
  const both = { script: "x", inputs: ["x"] };
  assertMatch(
    assertThrows(() => parse(recipe, both), HotbootError).message,
    /: image\.build: use exactly one of .*$/,
  );
});

Deno.test("profile: secrets, rotation and proof must fit together", () => {
  const secrets = [{ name: "KEY", placeholder: "x" }];
  const proof = [{ name: "it", port: "web", path: "/", contains: ["${secret.KEY}"] }];
  const rotation = { command: ["rotate"], proof };
  const parse = (changes: object) => parseProfile(JSON.stringify({ ...plain, ...changes }), "x");
  assertEquals(parse({ secrets, rotation }).rotation, rotation);
  const refused: [object, RegExp][] = [
    [{ secrets }, /rotation/],
    [{ rotation }, /secrets/],
    [{ secrets: [...secrets, ...secrets], rotation }, /: secrets: two have the same name: rename one of them$/],
    [{ secrets: [{ ...secrets[0], name: "a-b" }], rotation }, /: secrets\[0\]\.name: /],
    [{ secrets: [{ ...secrets[0], bytes: 8 }], rotation }, /: secrets\[0\]\.bytes: /],
    [{ secrets: [{ ...secrets[0], file: "instance.json" }], rotation }, /: secrets\[0\]\.file: /],
    [{ secrets: [{ ...secrets[0], file: "../key" }], rotation }, /: secrets\[0\]\.file: /],
    [
      { secrets: [{ ...secrets[0], file: "key" }, { name: "OTHER", placeholder: "x", file: "Key" }], rotation },
      /: secrets: two have the same file: rename one of them$/,
    ],
    [{ secrets, rotation: { ...rotation, proof: [] } }, /: rotation\.proof: /],
    [{ secrets, rotation: { ...rotation, command: [] } }, /: rotation\.command: /],
    [
      { secrets, rotation: { ...rotation, proof: [{ ...proof[0], port: "api" }] } },
      /proof\[0\]: there is no port 'api': name one of ports$/,
    ],
    [
      { secrets, rotation: { ...rotation, proof: [{ ...proof[0], excludes: ["${secret.NONE}"] }] } },
      /proof\[0\]: \$\{secret\.NONE\} is not defined: correct that name$/,
    ],
    [
      { secrets, rotation: { ...rotation, proof: [{ ...proof[0], headers: { "x-key": "a\r\nb" } }] } },
      /: rotation\.proof\[0\]\.headers\.x-key: /,
    ],
    [{ freeze: [{ unit: "a b" }] }, /: freeze\[0\]\.unit: /],
    [{ freeze: [{ unit: "a.service", thaw: "never" }] }, /: freeze\[0\]\.thaw: /],
    [{ hooks: { beforeCapture: ["true"] } }, /: hooks\.beforeCapture\[0\]: /],
  ];
  for (const [changes, why] of refused) assertMatch(assertThrows(() => parse(changes), HotbootError).message, why);
});

Deno.test("profile: a project's request and the environment may refer only to what exists", () => {
  const secrets = [{ name: "KEY", placeholder: "x" }];
  const rotation = { command: ["rotate"], proof: [{ name: "it", port: "web", path: "/" }] };
  const project = {
    port: "web",
    path: "/project?x",
    headers: { "x-key": "${secret.KEY}" },
    body: { file: "${config.file}", port: "${ports.web.guest}" },
    answer: ["id"],
    environment: { ID: "${answer.id}", URL: "http://localhost:${ports.web.host}" },
  };
  const environment = { URL: "http://127.0.0.1:${ports.web.host}", KEY: "$${secret.KEY}" };
  const parse = (changes: object) =>
    parseProfile(JSON.stringify({ ...plain, secrets, rotation, project, environment, ...changes }), "x");
  assertEquals([parse({}).project, parse({}).environment], [project, environment]);
  const refused: [object, RegExp][] = [
    [{ project: { ...project, port: "api" } }, /: project\.port: there is no port 'api': name one of ports$/],
    [{ project: { ...project, answer: [] } }, /: project\.answer: /],
    [{ project: { ...project, path: "/a b" } }, /: project\.path: /],
    [
      { project: { ...project, headers: { "x-key": "${secret.NONE}" } } },
      /headers\.x-key: \$\{secret\.NONE\} is not defined/,
    ],
    // A file name can contain characters that end a header.
    [
      { project: { ...project, headers: { file: "${config.file}" } } },
      /headers\.file: \$\{config\.file\} is not defined/,
    ],
    [{ project: { ...project, headers: { "x-key": "a\r\nb" } } }, /: project\.headers\.x-key: /],
    [{ project: { ...project, body: { a: "${placeholder.KEY}" } } }, /body\.a: \$\{placeholder\.KEY\} is not defined/],
    [{ project: { ...project, body: { a: 1 } } }, /: project\.body\.a: /],
    [
      { project: { ...project, environment: { ID: "${answer.other}" } } },
      /: project\.environment\.ID: \$\{answer\.other\} is not defined: correct that name$/,
    ],
    [{ project: { ...project, environment: { PATH: "x" } } }, /: project\.environment/],
    [{ environment: { ID: "${answer.id}" } }, /: environment\.ID: \$\{answer\.id\} is not defined: correct that name$/],
    [
      { ports: { web: { guest: 80, host: 8080, url: "http://localhost:${ports.api.host}" } } },
      /: ports\.web\.url: \$\{ports\.api\.host\} is not defined: correct that name$/,
    ],
    [
      { environment: { URL: "${ports.web.both}" } },
      /: environment\.URL: \$\{ports\.web\.both\} is not defined: correct that name$/,
    ],
    [
      { environment: { A: "${config.file}" } },
      /: environment\.A: \$\{config\.file\} is not defined: correct that name$/,
    ],
    [{ environment: { A: "a\u0000" } }, /: environment\.A: /],
    ...["A-B", "1", "A=B", ""].map(
      (name): [object, RegExp] => [{ environment: { [name]: "x" } }, /: environment/],
    ),
  ];
  for (const [changes, why] of refused) assertMatch(assertThrows(() => parse(changes), HotbootError).message, why);
  const code =
    "LD_PRELOAD DYLD_INSERT_LIBRARIES PATH BASH_ENV ENV NODE_OPTIONS PYTHONPATH PERL5OPT RUBYOPT GIT_SSH_COMMAND";
  for (
    const name of [...code.split(" "), "npm_config_script_shell", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "HOME", "EDITOR"]
  ) {
    for (
      const changes of [{ environment: { [name]: "x" } }, { project: { ...project, environment: { [name]: "x" } } }]
    ) {
      assertThrows(
        () => parse(changes),
        HotbootError,
        `environment.${name}: with it a program runs other code: remove it`,
      );
    }
  }
  for (const name of ["PATHS", "PORT", "DATABASE_URL", "NODE_ENV", "GITHUB_REF", "ENVIRONMENT"]) {
    parse({ environment: { [name]: "x" } });
  }
});

Deno.test("profile: a share has a tag, an absolute path and a mount command", () => {
  const share = { tag: "hostfs", path: "/", mount: ["mount-host-fs", "--post-resume"], readOnly: false };
  const parse = (share: object) => parseProfile(JSON.stringify({ ...plain, share }), "x");
  assertEquals(parse(share).share, share);
  const refused: [object, RegExp][] = [
    [{ ...share, path: "home" }, /: share\.path: /],
    [{ ...share, path: "/a\u0000" }, /: share\.path: /],
    [{ ...share, tag: "a b" }, /: share\.tag: /],
    [{ ...share, tag: "x".repeat(32) }, /: share\.tag: /], // the device has no room for it
    [{ ...share, mount: [] }, /: share\.mount: /],
    [{ ...share, readOnly: "no" }, /: share\.readOnly: /],
    [{ tag: "hostfs", path: "/" }, /: share: .*"mount"/],
  ];
  for (const [changed, why] of refused) assertMatch(assertThrows(() => parse(changed), HotbootError).message, why);
});

Deno.test("profile: the built-in profiles match the schema", async () => {
  for (const name of ["demo", "stack"]) {
    const { profile, url } = await loadProfile(name);
    assertEquals(parseProfile(await Deno.readTextFile(url), name), profile);
  }
});

Deno.test("profile: the schema allows a string with a variable for every number", () => {
  const numbers: unknown[] = [];
  JSON.stringify(schema, (_, value) => {
    const types = [value?.type].flat();
    if (types.includes("integer") || types.includes("number")) numbers.push([types[1], value.pattern]);
    return value;
  });
  assert(numbers.length > 10);
  assertEquals(numbers, numbers.map(() => ["string", "\\$\\{env\\."]));
});
