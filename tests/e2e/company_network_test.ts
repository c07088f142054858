/** Pulling through companies' proxies, and from servers with certificates of private authorities. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { assertCode } from "./program.ts";
import { ARCH } from "./qemu.ts";
import { freePort } from "./shared.ts";
import { CA_VARIABLES, PROXY_VARIABLES } from "../../lib/release/network.ts";
import { disk, MIB, PullHome } from "./pull_home.ts";
import { TlsSite, TunnelProxy } from "./tls_site.ts";

/** GitHub's API behind a server with a certificate of a private authority. */
async function company(): Promise<{ pull: PullHome; site: TlsSite } & AsyncDisposable> {
  const pull = await PullHome.make();
  pull.github.release("emulator-dev-latest", [{ name: `emulator-${ARCH}.qcow2`, bytes: disk(MIB, 1) }]);
  const site = await TlsSite.start(pull.github.api);
  const hosts = [pull.github.storage.origin, pull.github.api].map((url) => new URL(url).host);
  pull.env.HOTBOOT_GITHUB_API = site.origin;
  pull.env.HOTBOOT_DOWNLOAD_HOSTS = hosts.join(",");
  pull.env.DENO_NO_UPDATE_CHECK = "1"; // a request of Deno's own
  for (const name of [...PROXY_VARIABLES, ...CA_VARIABLES]) pull.env[name] = ""; // this machine's own
  return {
    pull,
    site,
    [Symbol.asyncDispose]: async () => {
      await site[Symbol.asyncDispose]();
      await pull[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a private authority is trusted if the environment names it; else the error says so", async (t) => {
  await using setting = await company();
  const { pull, site } = setting;
  const { env } = pull;
  const asked = () => pull.github.seen.length;
  const begin = { ...env };
  const withEnv = (more: Record<string, string>) => pull.env = { ...begin, ...more };

  await t.step("unknown: the error names the issuer and the variable, at the first attempt", async () => {
    const told =
      /^hotboot: localhost:\d+ has a certificate from 'Acme Root CA', which is not trusted: .* NODE_EXTRA_CA_CERTS/;
    await pull.expectRefusal(pull.run("list-releases"), told);
    await pull.expectRefusal(pull.pull(), /'Acme Root CA', which is not trusted/);
    assertEquals(asked(), 0);
  });
  await t.step("NODE_EXTRA_CA_CERTS", async () => {
    withEnv({ NODE_EXTRA_CA_CERTS: site.ca });
    assertCode(await pull.pull(), 0);
    assertEquals(await pull.image(), disk(MIB, 1));
  });
  await t.step("SSL_CERT_FILE, in the place of the system's own file", async () => {
    withEnv({ SSL_CERT_FILE: site.ca });
    assertCode(await pull.pull("--force"), 0);
  });
  await t.step("SSL_CERT_DIR, as OpenSSL names what is in it", async () => {
    const authorities = `${site.directory}/authorities`;
    await Deno.mkdir(authorities);
    await Deno.copyFile(site.ca, `${authorities}/acme.pem`);
    withEnv({ SSL_CERT_DIR: authorities });
    const told =
      /'Acme Root CA', which is not trusted: .*SSL_CERT_DIR is '\S+', which cannot be used \(.*openssl rehash/;
    await pull.expectRefusal(pull.run("list-releases"), told);
    await new Deno.Command("openssl", { args: ["rehash", authorities] }).output();
    withEnv({ SSL_CERT_DIR: `${authorities}:` });
    assertCode(await pull.run("list-releases"), 0);
  });
  await t.step("DENO_TLS_CA_STORE decides about the system's, and DENO_CERT works as before", async () => {
    withEnv({ SSL_CERT_FILE: site.ca, DENO_TLS_CA_STORE: "mozilla" });
    await pull.expectRefusal(pull.run("list-releases"), /'Acme Root CA', which is not trusted/);
    withEnv({ DENO_CERT: site.ca, DENO_TLS_CA_STORE: "mozilla" });
    assertCode(await pull.run("list-releases"), 0);
  });
  await t.step("a wrong DENO_CERT is named, at the first attempt", async () => {
    withEnv({ DENO_CERT: `${site.directory}/none` });
    await pull.expectRefusal(
      pull.run("list-releases"),
      /: Deno cannot use the certificates of DENO_CERT \(.*No such file/,
    );
  });
  await t.step("a variable that names no certificate is named in the error", async () => {
    await Deno.writeTextFile(`${site.directory}/empty.pem`, "nothing\n");
    withEnv({ NODE_EXTRA_CA_CERTS: `${site.directory}/empty.pem`, SSL_CERT_FILE: `${site.directory}/none` });
    const { code, stderr } = await pull.run("list-releases");
    assertEquals(code, 1);
    assertMatch(
      stderr,
      /NODE_EXTRA_CA_CERTS is '\S+\/empty\.pem', which cannot be used \(it has no certificate in PEM form\)/,
    );
    assertMatch(stderr, /SSL_CERT_FILE is '\S+\/none', which cannot be used \(No such file or directory/);
  });
  await t.step("an expired certificate", async () => {
    withEnv({ SSL_CERT_FILE: site.ca, HOTBOOT_GITHUB_API: `https://localhost:${site.expiredPort}` });
    const told =
      /localhost:\d+ has a certificate from 'Acme Root CA' that is not valid \(.*expired.*\): check .* clock/i;
    await pull.expectRefusal(pull.run("list-releases"), told);
  });
  await t.step("what the program starts does not inherit the choice of the store", async () => {
    const bin = `${pull.directory}/bin`;
    await Deno.mkdir(bin);
    await Deno.writeTextFile(`${bin}/gh`, `#!/bin/sh\n/usr/bin/env > ${pull.directory}/seen\n`, { mode: 0o755 });
    withEnv({ SSL_CERT_FILE: site.ca });
    assertCode(await pull.run("list-releases"), 0);
    const seen = await Deno.readTextFile(`${pull.directory}/seen`);
    assert(seen.includes(`SSL_CERT_FILE=${site.ca}`) && !seen.includes("DENO_TLS_CA_STORE"), seen);
  });
});

Deno.test("a proxy is used as the environment says, and errors name it", async (t) => {
  await using setting = await company();
  const { pull, site } = setting;
  await using proxy = await TunnelProxy.start({ to: site.port });
  const begin = { ...pull.env, SSL_CERT_FILE: site.ca };
  const withEnv = (more: Record<string, string>) => pull.env = { ...begin, ...more };
  const dead = `127.0.0.1:${freePort()}`;

  await t.step("HTTPS_PROXY, in upper and lower case, and ALL_PROXY", async () => {
    for (const name of ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"]) {
      const before = (await proxy.requests()).length;
      withEnv({ [name]: `http://${proxy.host}`, NO_PROXY: "127.0.0.1" });
      assertCode(await pull.pull("--force"), 0);
      const asked = (await proxy.requests()).slice(before);
      assert(asked.length > 0 && asked.every((request) => request === `CONNECT localhost:${site.port}`), asked.join());
    }
    assertEquals(await pull.image(), disk(MIB, 1));
  });
  await t.step("NO_PROXY", async () => {
    const before = await proxy.requests();
    withEnv({ HTTPS_PROXY: `http://${proxy.host}`, NO_PROXY: "localhost" });
    assertCode(await pull.run("list-releases"), 0);
    assertEquals(await proxy.requests(), before);
  });
  await t.step("NO_PROXY as curl, Go and Node.js read it, and an empty one does not hide no_proxy", async () => {
    const before = await proxy.requests();
    for (const hosts of [`localhost:${site.port}`, "LocalHost", "example.com localhost", "*"]) {
      withEnv({ HTTPS_PROXY: `http://${proxy.host}`, NO_PROXY: hosts });
      assertCode(await pull.run("list-releases"), 0);
    }
    withEnv({ HTTPS_PROXY: `http://${proxy.host}`, NO_PROXY: "", no_proxy: "localhost" });
    assertCode(await pull.run("list-releases"), 0);
    assertEquals(await proxy.requests(), before);
    withEnv({ HTTPS_PROXY: `http://${proxy.host}`, NO_PROXY: "host,127.0.0.0/8" });
    assertCode(await pull.run("list-releases"), 0);
    assertEquals((await proxy.requests()).length, before.length + 1);
  });
  await t.step("the command may connect to it, as 'hotboot permissions' shows", async () => {
    withEnv({ HTTPS_PROXY: `http://somebody:secret@${proxy.host}` });
    const { stdout } = await pull.run("permissions", "list-releases");
    assertMatch(stdout, new RegExp(`^ +${proxy.host}$`, "m"));
    assert(!stdout.includes("secret"));
  });
  await t.step("a proxy that is not there: the error names it and its variable, at the first attempt", async () => {
    withEnv({ HTTPS_PROXY: `http://somebody:secret@${dead}` });
    const run = pull.run("list-releases");
    await pull.expectRefusal(
      run,
      new RegExp(
        `the proxy ${dead} \\(HTTPS_PROXY\\) cannot be reached \\(.*ECONNREFUSED.*\\): .* correct HTTPS_PROXY, or add localhost to NO_PROXY`,
      ),
    );
    assert(!(await run).stderr.includes("secret"));
    withEnv({ all_proxy: `socks5://${dead}` });
    await pull.expectRefusal(pull.run("list-releases"), new RegExp(`through the proxy ${dead} \\(all_proxy\\)`));
  });
  await t.step("a proxy that refuses", async () => {
    await using other = await TunnelProxy.start({ to: 443 });
    withEnv({ https_proxy: other.host });
    await pull.expectRefusal(
      pull.run("list-releases"),
      new RegExp(
        `the proxy ${other.host} \\(https_proxy\\) answered 403 instead of connecting to localhost:${site.port}: ask`,
      ),
    );
  });
  await t.step("a proxy that wants a password", async () => {
    await using other = await TunnelProxy.start({ to: site.port, user: "me secret" });
    withEnv({ HTTPS_PROXY: `http://${other.host}` });
    await pull.expectRefusal(
      pull.run("list-releases"),
      new RegExp(`answered 407 .*: put the password into HTTPS_PROXY, as http://USER:PASSWORD@${other.host}`),
    );
    for (const user of ["me", "me:wrong"]) {
      withEnv({ HTTPS_PROXY: `http://${user}@${other.host}` });
      await pull.expectRefusal(
        pull.run("list-releases"),
        /answered 40[17] instead .*: correct the user and the password in HTTPS_PROXY/,
      );
    }
    withEnv({ HTTPS_PROXY: `http://me:s%65cret@${other.host}` });
    assertCode(await pull.run("list-releases"), 0);
  });
  await t.step("a proxy that wants to know the user's Windows login", async () => {
    // Such proxies need a domain's controller, so this is only what they answer.
    const listener = Deno.listen({ hostname: "127.0.0.1" });
    const answering = (async () => {
      for await (const peer of listener) {
        await peer.read(new Uint8Array(4096));
        const headers = "Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n";
        await peer.write(new TextEncoder().encode(`HTTP/1.1 407 Proxy Authentication Required\r\n${headers}\r\n`));
        peer.close();
      }
    })();
    withEnv({ HTTPS_PROXY: `http://127.0.0.1:${listener.addr.port}` });
    const told =
      /answered 407 .*: it wants Negotiate or NTLM, .*: start a proxy on this machine .* name .* HTTPS_PROXY/;
    await pull.expectRefusal(pull.run("list-releases"), told);
    listener.close();
    await answering;
  });
  await t.step("an authority that is not trusted is found through the proxy, too", async () => {
    withEnv({ HTTPS_PROXY: `http://${proxy.host}`, SSL_CERT_FILE: "" });
    await pull.expectRefusal(
      pull.run("list-releases"),
      new RegExp(`, through the proxy ${proxy.host} \\(HTTPS_PROXY\\), has a certificate from 'Acme Root CA'`),
    );
  });
});
