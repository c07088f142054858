/** What companies put between their users and the internet: nginx with a certificate of a private authority, and tinyproxy. */

import { assertEquals } from "@std/assert";
import { until } from "./pace.ts";
import { freePort } from "./shared.ts";

/** A server that passes requests on to another one, with certificates of its own authority. */
export class TlsSite implements AsyncDisposable {
  readonly port = freePort();
  /** A port of the same server, with a certificate that has expired. */
  readonly expiredPort = freePort();
  #nginx?: Deno.ChildProcess;

  private constructor(readonly directory: string) {}

  /** The authority's certificate. */
  get ca(): string {
    return `${this.directory}/ca.pem`;
  }

  get origin(): string {
    return `https://localhost:${this.port}`;
  }

  static async start(upstream: string): Promise<TlsSite> {
    const site = new TlsSite(await Deno.makeTempDir({ prefix: "hotboot-tls-" }));
    const { directory } = site;
    await Deno.writeTextFile(
      `${directory}/names`,
      "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    );
    const openssl = (...args: string[]) => run("openssl", args, directory);
    const key = ["-newkey", "rsa:2048", "-nodes"];
    await openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/O=Acme/CN=Acme Root CA");
    await openssl("req", ...key, "-keyout", "server.key", "-out", "request.pem", "-subj", "/CN=localhost");
    const sign = ["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    await openssl(...sign, "-extfile", "names", "-out", "server.pem");
    await openssl(...sign, "-extfile", "names", "-out", "expired.pem", "-days", "-1");
    const server = (port: number, certificate: string) =>
      `server { listen 127.0.0.1:${port} ssl; ssl_certificate ${certificate}; ssl_certificate_key server.key;
        location / { proxy_pass ${upstream}; } }`;
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    await Deno.writeTextFile(
      `${directory}/nginx.conf`,
      `daemon off; master_process off; pid nginx.pid; error_log error.log; events {}
      http { access_log off; ${temporary.map((name) => `${name}_temp_path ${directory};`).join(" ")}
      ${server(site.port, "server.pem")} ${server(site.expiredPort, "expired.pem")} }`,
    );
    site.#nginx = new Deno.Command("nginx", {
      args: ["-p", directory, "-c", "nginx.conf"],
      env: { PATH: `${Deno.env.get("PATH")}:/usr/sbin` },
      stderr: "null",
    }).spawn();
    await listening(site.port);
    return site;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await end(this.#nginx!);
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** A proxy that opens connections to some ports, and to no others. */
export class TunnelProxy implements AsyncDisposable {
  readonly port = freePort();
  #tinyproxy?: Deno.ChildProcess;

  private constructor(readonly directory: string) {}

  /** @param user `NAME PASSWORD`, if it wants them. */
  static async start({ to, user }: { to: number; user?: string }): Promise<TunnelProxy> {
    const proxy = new TunnelProxy(await Deno.makeTempDir({ prefix: "hotboot-proxy-" }));
    const lines = [
      `Port ${proxy.port}`,
      "Listen 127.0.0.1",
      "Timeout 600",
      `LogFile "${proxy.directory}/log"`,
      "LogLevel Connect",
      `ConnectPort ${to}`,
      ...user ? [`BasicAuth ${user}`] : [],
    ];
    await Deno.writeTextFile(`${proxy.directory}/tinyproxy.conf`, lines.join("\n"));
    proxy.#tinyproxy = new Deno.Command("tinyproxy", {
      args: ["-d", "-c", `${proxy.directory}/tinyproxy.conf`],
      stdout: "null",
      stderr: "null",
    }).spawn();
    await listening(proxy.port);
    return proxy;
  }

  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** The connections that it was asked for, so far. */
  async requests(): Promise<string[]> {
    const log = await Deno.readTextFile(`${this.directory}/log`);
    return [...log.matchAll(/: (CONNECT \S+) HTTP/g)].map(([, request]) => request);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await end(this.#tinyproxy!);
    await Deno.remove(this.directory, { recursive: true });
  }
}

async function run(program: string, args: string[], cwd: string): Promise<void> {
  const { code, stderr } = await new Deno.Command(program, { args, cwd }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}

async function listening(port: number): Promise<void> {
  await until(() => Deno.connect({ port }).then((peer) => (peer.close(), true), () => false), `port ${port}`, 0.2);
}

async function end(child: Deno.ChildProcess): Promise<void> {
  child.kill();
  await child.status;
}
